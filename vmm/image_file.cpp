#include "vmm/image_file.hpp"

#include "vmm/printable.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <sys/mman.h>
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

tl::unexpected<Error> unreadable(std::string_view file, std::string_view doing, int os_error) {
  if (os_error == EMFILE || os_error == ENFILE)
    return fail(Errc::host_limit, os_error,
                fmt::format("{}: cannot {} it: {}; raise the limit on open files (ulimit -n)", file,
                            doing, std::generic_category().message(os_error)));
  const bool denied = os_error == EACCES || os_error == EPERM;
  std::string_view mend = "check the path";
  if (denied) mend = "make it readable for this user";
  if (os_error == EIO) mend = "check the disk";
  return fail(denied ? Errc::no_permission : Errc::no_such_file, os_error,
              fmt::format("{}: cannot {} it: {}; {}", file, doing,
                          std::generic_category().message(os_error), mend));
}

} // namespace

void UnmapImage::operator()(std::byte* pages) const {
  ::munmap(pages, size);
}

Result<ImageFile> read_image_file(const std::filesystem::path& path, std::string_view what) {
  const std::string name = fmt::format("{} '{}'", what, printable(path.native()));
  // O_NONBLOCK: a FIFO without a writer must not hang the open.
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd() < 0) return unreadable(name, "open", errno);
  struct stat status{};
  if (::fstat(file.fd(), &status) != 0) return unreadable(name, "examine", errno);
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::no_such_file, 0,
                fmt::format("{}: it is {}, not a regular file; give a file", name,
                            S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket"));
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > max_image_file_size) {
    return fail(Errc::bad_image, 0,
                fmt::format("{}: a file of {} bytes is more than the {} that slat loads; strip it",
                            name, size, max_image_file_size));
  }
  if (size == 0) return ImageFile{};
  void* const pages =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    return fail(Errc::host_limit, ENOMEM,
                fmt::format("{}: no memory for the {} bytes of the file; strip it", name, size));
  }
  ImageFile image{{static_cast<std::byte*>(pages), {size}}};
  while (image.size < size) {
    const auto got = ::read(file.fd(), image.data.get() + image.size, size - image.size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unreadable(name, "read", errno);
    if (got == 0) break; // it shrank since: what is there is judged as a truncated image
    image.size += static_cast<std::uint64_t>(got);
  }
  return image;
}

} // namespace slat::vmm
