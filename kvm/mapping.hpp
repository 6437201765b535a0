// Mapping: a shared mapping of a descriptor with one owner.
#pragma once

#include <cerrno>
#include <cstddef>
#include <sys/mman.h>
#include <utility>

namespace slat::kvm {

/// Owns an mmap()ed range and unmaps it. Move-only; the address never changes, also when moved.
class Mapping {
 public:
  Mapping() = default;

  /// Maps the first `size` bytes of `fd`, shared, read and write. On failure not valid(), and errno
  /// says why.
  Mapping(int fd, std::size_t size) noexcept {
    void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return;
    data_ = p;
    size_ = size;
  }

  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  [[nodiscard]] bool valid() const noexcept { return data_ != nullptr; }

  [[nodiscard]] void* data() const noexcept { return data_; }

  [[nodiscard]] std::size_t size() const noexcept { return size_; } // bytes

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

} // namespace slat::kvm
