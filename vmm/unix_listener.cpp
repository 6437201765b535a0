#include "vmm/unix_listener.hpp"

#include "vmm/printable.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <utility>

namespace slat::vmm {

namespace {

constexpr int backlog = 16;

Errc code_of(int error) {
  switch (error) {
  case ENOENT:
  case ENOTDIR:
    return Errc::no_such_file;
  case EACCES:
  case EPERM:
  case EROFS:
    return Errc::no_permission;
  case EMFILE:
  case ENFILE:
  case ENOSPC:
    return Errc::host_limit;
  default:
    return Errc::host_failed;
  }
}

tl::unexpected<Error> refuse(const std::filesystem::path& path, std::string_view what, int error) {
  return fail(code_of(error), error,
              fmt::format("cannot {} the control socket '{}': {}", what, printable(path.native()),
                          std::strerror(error)));
}

tl::unexpected<Error> taken(const std::filesystem::path& path, std::string_view why) {
  return fail(Errc::invalid_argument, 0,
              fmt::format("the path of the control socket, '{}', {}; give another one",
                          printable(path.native()), why));
}

sockaddr_un address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.native().copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

kvm::Fd make_socket() {
  return kvm::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int bind_to(const kvm::Fd& socket, const sockaddr_un& address) {
  return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0
             ? 0
             : errno;
}

/// Among processes that look for a socket in this directory. A directory that cannot be read cannot be locked: then two that
/// start at the same moment could replace each other's.
Result<kvm::Fd> lock_directory(const std::filesystem::path& path) {
  const auto parent = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  kvm::Fd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) {
    if (errno == EACCES) return kvm::Fd();
    return refuse(path, "make", errno);
  }
  for (int i = 0; i < 200; ++i) {
    if (::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) return directory;
    if (errno != EWOULDBLOCK && errno != EINTR) return kvm::Fd(); // no such locks here
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return fail(Errc::host_limit, EWOULDBLOCK,
              fmt::format("the directory of the control socket '{}' is locked by another process; "
                          "give one of your own",
                          printable(path.native())));
}

/// Removes the socket of a process that is gone. The directory is locked.
Result<void> clear_stale(const std::filesystem::path& path, const sockaddr_un& address) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0)
    return errno == ENOENT ? Result<void>() : Result<void>(refuse(path, "look at", errno));
  if (!S_ISSOCK(info.st_mode)) return taken(path, "exists, and is no socket");
  const kvm::Fd probe = make_socket();
  if (!probe.valid()) return refuse(path, "make", errno);
  const bool connected =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (connected || errno == EAGAIN) return taken(path, "is in use by another process");
  if (errno != ECONNREFUSED) return refuse(path, "look at", errno);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return refuse(path, "replace", errno);
  return {};
}

} // namespace

Result<UnixListener> UnixListener::open(const std::filesystem::path& path) {
  constexpr std::size_t longest = sizeof(sockaddr_un{}.sun_path) - 1;
  if (path.empty() || path.native().size() > longest)
    return fail(Errc::invalid_argument, 0,
                fmt::format("the path of the control socket has {} bytes; give one of 1 to {}",
                            path.native().size(), longest));
  const sockaddr_un address = address_of(path);
  auto lock = lock_directory(path);
  if (!lock) return forward(lock);
  UnixListener listener;
  listener.fd_ = make_socket();
  if (!listener.fd_.valid()) return refuse(path, "make", errno);
  if (::fchmod(listener.fd_.get(), S_IRUSR | S_IWUSR) != 0) return refuse(path, "make", errno);
  int error = bind_to(listener.fd_, address);
  if (error == EADDRINUSE) {
    if (auto cleared = clear_stale(path, address); !cleared) return forward(cleared);
    error = bind_to(listener.fd_, address);
  }
  if (error != 0) return refuse(path, "make", error);
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return refuse(path, "look at", errno);
  listener.path_ = path;
  listener.device_ = info.st_dev;
  listener.inode_ = info.st_ino;
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) !=
      0) // a file system with rights of its own; nobody listens yet
    return fail(Errc::host_unavailable, 0,
                fmt::format("the control socket '{}' would be open to other users; give a path on "
                            "another file system",
                            printable(path.native())));
  if (::listen(listener.fd_.get(), backlog) != 0) return refuse(path, "listen at", errno);
  return listener;
}

UnixListener::UnixListener(UnixListener&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})), device_(other.device_),
      inode_(other.inode_) {}

void UnixListener::remove() {
  struct stat info{};
  if (!path_.empty() && ::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ &&
      info.st_ino == inode_)
    (void)::unlink(path_.c_str());
  path_.clear();
}

bool may_control(uid_t peer, uid_t own) {
  return peer == own || peer == 0;
}

bool peer_may_control(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         may_control(peer.uid, ::geteuid());
}

} // namespace slat::vmm
