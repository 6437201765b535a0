// Fd: a file descriptor with one owner.
#pragma once

#include <unistd.h>
#include <utility>

namespace slat::kvm {

/// Owns a file descriptor and closes it. Move-only; empty when moved from. No errors, no locks;
/// closing may sleep.
class Fd {
 public:
  Fd() = default;

  explicit Fd(int fd) noexcept : fd_(fd) {}

  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }

  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  ~Fd() { reset(); }

  /// The descriptor, still owned here, or -1.
  [[nodiscard]] int get() const noexcept { return fd_; }

  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }

  /// Gives the descriptor away: the caller closes it.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

  /// Closes what it owns, then owns `fd`.
  void reset(int fd = -1) noexcept {
    // Never closed twice: Linux frees the number even where close() fails, and it may be another's
    // by now.
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

} // namespace slat::kvm
