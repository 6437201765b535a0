// Memory that nobody manages: what a benchmark's bare system calls work on, as the physical limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <unistd.h>

namespace slat::tool {

/// A shared mapping of a memfd, as guest RAM is one. One thread's. Empty where the host refuses.
class PlainMemory {
 public:
  explicit PlainMemory(std::uint64_t size) : size_(size) {
    const int fd = memfd_create("bench-plain", MFD_CLOEXEC);
    if (fd < 0) return;
    if (ftruncate(fd, off_t(size)) == 0)
      data_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
  }

  ~PlainMemory() {
    if (data() != nullptr) munmap(data_, size_);
  }

  PlainMemory(const PlainMemory&) = delete;
  PlainMemory& operator=(const PlainMemory&) = delete;

  [[nodiscard]] void* data() const { return data_ == MAP_FAILED ? nullptr : data_; }

  [[nodiscard]] std::uint64_t size() const { return size_; }

  /// Maps all of its pages for writing; makes them first where they are missing.
  void touch() {
    if (data() != nullptr) (void)madvise(data_, size_, MADV_POPULATE_WRITE);
  }

 private:
  std::uint64_t size_;
  void* data_ = MAP_FAILED;
};

} // namespace slat::tool
