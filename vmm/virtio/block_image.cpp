#include "vmm/virtio/block_image.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace slat::vmm::virtio {

namespace {

constexpr std::uint64_t sector = 512;

tl::unexpected<Error> failed(std::string_view doing) {
  return fail(Errc::host_failed, errno,
              fmt::format("disk image: {}: {}", doing, std::strerror(errno)));
}

Errc open_errc(int error) {
  switch (error) {
  case EACCES:
  case EPERM:
  case EROFS:
    return Errc::no_permission;
  case EMFILE:
  case ENFILE:
    return Errc::host_limit;
  default:
    return Errc::no_such_file;
  }
}

off_t at(std::uint64_t offset) {
  return static_cast<off_t>(offset);
}

} // namespace

Result<BlockImage> BlockImage::open(const std::filesystem::path& path, bool read_only) {
  const std::string name = printable(path.native());
  // Without O_NONBLOCK a named pipe would wait for somebody at its other end.
  kvm::Fd fd(::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0)
    return fail(open_errc(errno), errno,
                fmt::format("disk image '{}' cannot be opened{}: {}", name,
                            read_only ? "" : " for writing (readonly=on would not write)",
                            std::strerror(errno)));
  struct stat info{};
  if (fstat(fd.get(), &info) != 0 || !(S_ISREG(info.st_mode) || S_ISBLK(info.st_mode)))
    return fail(Errc::no_such_file, 0,
                fmt::format("disk image '{}' is neither a file nor a block device", name));
  if (flock(fd.get(), (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
    return fail(
        Errc::host_unavailable, errno,
        fmt::format("disk image '{}' is in use by another process; end that, or copy the image",
                    name));
  const off_t end = lseek(fd.get(), 0, SEEK_END);
  if (end <= 0 || static_cast<std::uint64_t>(end) % sector != 0)
    return fail(
        Errc::bad_image, 0,
        fmt::format("disk image '{}' has {} bytes, which is no whole number of sectors of {}; "
                    "resize it (truncate -s)",
                    name, std::max<off_t>(end, 0), sector));
  return BlockImage(std::move(fd), static_cast<std::uint64_t>(end), read_only);
}

Result<void> BlockImage::read(std::uint64_t offset, std::span<std::byte> data) const {
  while (!data.empty()) {
    const ssize_t count = ::pread(fd_.get(), data.data(), data.size(), at(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("read");
    if (count == 0) { // somebody has cut it short
      errno = EIO;
      return failed("read past its end");
    }
    data = data.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Result<void> BlockImage::write(std::uint64_t offset, std::span<const std::byte> data) const {
  while (!data.empty()) {
    const ssize_t count = ::pwrite(fd_.get(), data.data(), data.size(), at(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("write");
    data = data.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Result<void> BlockImage::flush() const {
  if (read_only_ || fdatasync(fd_.get()) == 0) return {};
  return failed("fdatasync");
}

Result<void> BlockImage::discard(std::uint64_t offset, std::uint64_t length) const {
  if (fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at(offset), at(length)) ==
          0 ||
      errno == EOPNOTSUPP)
    return {};
  return failed("punch a hole");
}

Result<void> BlockImage::write_zeroes(std::uint64_t offset, std::uint64_t length,
                                      bool may_free) const {
  if (may_free &&
      fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at(offset), at(length)) == 0)
    return {};
  if (fallocate(fd_.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, at(offset), at(length)) == 0)
    return {};
  static constexpr std::array<std::byte, 16384> zeroes{};
  while (length != 0) { // neither is known to every file system
    const std::size_t here = std::min<std::uint64_t>(length, zeroes.size());
    if (auto ok = write(offset, std::span(zeroes).first(here)); !ok) return ok;
    offset += here;
    length -= here;
  }
  return {};
}

} // namespace slat::vmm::virtio
