#include "vmm/control_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>

namespace slat::vmm {

Result<std::unique_ptr<ControlSocket>>
ControlSocket::open(const std::filesystem::path& path, ControlConnection::Handler handler,
                    SeccompMode seccomp, const ControlConnection::Limits& limits) {
  kvm::Fd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid())
    return fail(
        Errc::host_limit, errno,
        fmt::format("cannot create an eventfd: {}; raise the limit on open files (ulimit -n)",
                    std::strerror(errno)));
  auto listener = UnixListener::open(path);
  if (!listener) return forward(listener);
  std::unique_ptr<ControlSocket> socket(new ControlSocket(std::move(*listener), std::move(stop),
                                                          std::move(handler), seccomp, limits));
  if (auto ok = socket->start(); !ok) return forward(ok);
  return socket;
}

ControlSocket::ControlSocket(UnixListener listener, kvm::Fd stop,
                             ControlConnection::Handler handler, SeccompMode seccomp,
                             const ControlConnection::Limits& limits)
    : listener_(std::move(listener)), stop_(std::move(stop)), handler_(std::move(handler)),
      seccomp_(seccomp), limits_(limits) {}

Result<void> ControlSocket::start() {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) { // std::thread's only way to say no
    return fail(
        Errc::host_limit, error.code().value(),
        fmt::format("cannot start the thread of the control socket: {}", error.code().message()));
  }
  return {};
}

ControlSocket::~ControlSocket() {
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one); // an eventfd takes it
  if (thread_.joinable()) thread_.join();
}

bool ControlSocket::has_room() const {
  return connections_.size() < max_connections ||
         std::ranges::any_of(connections_, &ControlConnection::is_idle);
}

int ControlSocket::wait_ms() const {
  Clock::time_point first = Clock::time_point::max();
  for (const ControlConnection& connection : connections_) {
    if (connection.has_more()) return 0;
    first = std::min(first, connection.deadline());
  }
  const Clock::time_point now = Clock::now();
  if (accept_again_ > now) first = std::min(first, accept_again_);
  if (first == Clock::time_point::max()) return -1;
  // Rounded up: else it would wake some times just before.
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(first - now);
  return int(std::clamp<std::chrono::milliseconds::rep>(wait.count(), 0, 60'000));
}

void ControlSocket::run() {
  pthread_setname_np(pthread_self(), "slat-api");
  if (auto ok = enter_sandbox(ThreadKind::control, seccomp_); !ok) {
    listener_.remove(); // nobody is served unfiltered
    return;
  }
  std::vector<pollfd> fds;
  std::vector<short> events;
  for (;;) {
    const bool accepting = has_room() && Clock::now() >= accept_again_;
    fds.assign({{stop_.get(), POLLIN, 0}, {accepting ? listener_.fd() : -1, POLLIN, 0}});
    for (const ControlConnection& connection : connections_)
      fds.push_back({connection.fd(), connection.events(), 0});
    if (::poll(fds.data(), fds.size(), wait_ms()) < 0) continue; // interrupted
    if (fds[0].revents != 0) {
      listener_.remove(); // this thread's filter lets it, and the main thread's would not
      return;
    }
    events.clear();
    for (std::size_t i = 2; i < fds.size(); ++i) events.push_back(fds[i].revents);
    serve(events);
    if (fds[1].revents != 0) take_new_ones();
  }
}

void ControlSocket::serve(const std::vector<short>& events) {
  std::size_t i = 0;
  std::erase_if(connections_, [&](ControlConnection& connection) {
    // First what has come: it is in time, however long the handler of another took.
    const bool ready = events[i++] != 0 || connection.has_more();
    if (ready && !connection.step(handler_)) return true;
    return Clock::now() >= connection.deadline() && !connection.expire();
  });
}

void ControlSocket::make_room() {
  if (connections_.size() < max_connections) return;
  auto oldest = connections_.end();
  for (auto at = connections_.begin(); at != connections_.end(); ++at)
    if (at->is_idle() && (oldest == connections_.end() || at->deadline() < oldest->deadline()))
      oldest = at;
  if (oldest != connections_.end()) connections_.erase(oldest);
}

void ControlSocket::take_new_ones() {
  while (has_room()) {
    kvm::Fd fd(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) accept_again_ = Clock::now() + std::chrono::milliseconds(100);
      return; // out of descriptors, say
    }
    make_room();
    const bool allowed = peer_may_control(fd.get());
    connections_.emplace_back(std::move(fd), limits_);
    if (!allowed && !connections_.back().refuse(fault(
                        HttpStatus::forbidden, "only the user who runs this slat may control it")))
      connections_.pop_back();
  }
}

} // namespace slat::vmm
