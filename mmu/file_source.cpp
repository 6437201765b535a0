#include "mmu/file_source.hpp"

#include "mmu/backing.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <span>
#include <sys/stat.h>
#include <unistd.h>

namespace slat::mmu {

Result<std::unique_ptr<FileSource>> FileSource::open(const std::string& path,
                                                     std::uint64_t offset) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail(Errc::os_failed, errno,
                fmt::format("cannot open '{}': {}", path, std::strerror(errno)));
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
      std::uint64_t(status.st_size) < offset) {
    close(fd);
    return fail(Errc::invalid_argument, 0,
                fmt::format("'{}' is no regular file of at least {} bytes", path, offset));
  }
  std::unique_ptr<FileSource> source(
      new (std::nothrow) FileSource(fd, offset, std::uint64_t(status.st_size) - offset));
  if (!source) {
    close(fd);
    return fail(Errc::no_memory, ENOMEM, fmt::format("no memory to read '{}'", path));
  }
  return source;
}

FileSource::~FileSource() {
  close(fd_);
}

FillResult FileSource::fill(Backing& backing, PageRun run) {
  const std::uint64_t first = run.first << page_shift;
  const std::size_t length = run.count << page_shift;
  const std::span<std::byte> pages(backing.host_view(run.first), length);
  const auto due =
      std::size_t(std::min<std::uint64_t>(length, bytes_ > first ? bytes_ - first : 0));
  // Before the host view is touched: a write that finds no memory there would be a SIGBUS.
  FillResult result = FillResult::filled;
  if (auto allocated = host::allocate_pages(backing.fd(), first, length); !allocated)
    result = allocated.error().code == Errc::no_memory ? FillResult::no_memory : FillResult::failed;
  if (result == FillResult::filled && due != 0) {
    auto got = host::read_at(fd_, pages.first(due), offset_ + first);
    if (!got)
      result = got.error().code == Errc::no_memory ? FillResult::no_memory : FillResult::failed;
    else if (*got != due)
      result = FillResult::failed; // the file has become shorter
  }
  if (result == FillResult::filled)
    std::fill(pages.begin() + std::ptrdiff_t(due), pages.end(), std::byte(0));
  else
    (void)host::punch(backing.fd(), first, length); // half a page is no page
  return result;
}

FillResult SharedSource::fill(Backing& backing, PageRun run) {
  const auto start = reinterpret_cast<std::uintptr_t>(backing.host_view(run.first));
  const std::size_t length = run.count << page_shift;
  struct stat status{};
  if (fstat(backing.fd(), &status) != 0 ||
      std::uint64_t(status.st_size) <= (run.first + run.count - 1) << page_shift)
    return FillResult::failed; // it has become shorter
  auto populated = in_memory_ ? host::populate(start, length) : host::populate_read(start, length);
  if (!populated && populated.error().code != Errc::no_memory && in_memory_)
    populated =
        host::allocate_pages(backing.fd(), run.first << page_shift, length); // see ZeroSource
  if (populated) return FillResult::filled;
  if (populated.error().code == Errc::no_memory) return FillResult::no_memory;
  return populated.error().os_error == EINVAL ? FillResult::filled // an old host: it is there
                                              : FillResult::failed;
}

} // namespace slat::mmu
