// load_elf_file: the file side of elf_loader.hpp. The file is read, not mapped: one that shrinks
// while it is in use would end a mapping's reader with SIGBUS.
#include "vmm/elf_loader.hpp"
#include "vmm/printable.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace slat::vmm {
namespace {

class File {
 public:
  explicit File(int fd) : fd_(fd) {}

  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }

  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[nodiscard]] int fd() const { return fd_; }

 private:
  const int fd_;
};

tl::unexpected<Error> unreadable(std::string_view name, std::string_view doing, int os_error) {
  if (os_error == EMFILE || os_error == ENFILE)
    return fail(
        Errc::host_limit, os_error,
        fmt::format("kernel '{}': cannot {} it: {}; raise the limit on open files (ulimit -n)",
                    name, doing, std::generic_category().message(os_error)));
  const bool denied = os_error == EACCES || os_error == EPERM;
  std::string_view mend = "check the path";
  if (denied) mend = "make it readable for this user";
  if (os_error == EIO) mend = "check the disk";
  return fail(denied ? Errc::no_permission : Errc::no_such_file, os_error,
              fmt::format("kernel '{}': cannot {} it: {}; {}", name, doing,
                          std::generic_category().message(os_error), mend));
}

} // namespace

Result<LoadedKernel> load_elf_file(GuestMemory& memory, const std::filesystem::path& path) {
  const std::string name = printable(path.native());
  // O_NONBLOCK: a FIFO without a writer must not hang the open.
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd() < 0) return unreadable(name, "open", errno);
  struct stat status{};
  if (::fstat(file.fd(), &status) != 0) return unreadable(name, "examine", errno);
  if (!S_ISREG(status.st_mode)) {
    return fail(
        Errc::no_such_file, 0,
        fmt::format("kernel '{}': it is {}, not a regular file; give an ELF kernel (vmlinux)", name,
                    S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket"));
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > max_kernel_file_size) {
    return fail(
        Errc::bad_image, 0,
        fmt::format("kernel '{}': a file of {} bytes is more than the {} that slat loads; strip it",
                    name, size, max_kernel_file_size));
  }
  const std::unique_ptr<std::byte[]> bytes(new (std::nothrow) std::byte[size]);
  if (!bytes) {
    return fail(
        Errc::host_limit, ENOMEM,
        fmt::format("kernel '{}': no memory for the {} bytes of the file; strip it", name, size));
  }
  std::uint64_t have = 0;
  while (have < size) {
    const auto got = ::read(file.fd(), bytes.get() + have, size - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unreadable(name, "read", errno);
    if (got == 0) break; // it shrank since: what is there is judged as a truncated image
    have += static_cast<std::uint64_t>(got);
  }
  return load_elf(memory, {bytes.get(), have}, path.native());
}

} // namespace slat::vmm
