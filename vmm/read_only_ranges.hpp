// ReadOnlyRanges: parts of guest memory that the host has made read-only for a while. A vCPU that writes there is no
// error: it waits outside the guest until one of them is given back, and tries again.
//
// Who waits was refused at some moment between its own before() and wait(): so either a range is still taken, or one has
// been given back since, and the next try tells. Nothing is missed, for give_back() counts before it wakes.
#pragma once

#include "mmu/thread_safety.hpp"

#include <chrono>
#include <cstdint>

namespace slat::vmm {

class ReadOnlyRanges {
 public:
  /// A range is about to become read-only.
  void take() SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    ++taken_;
  }

  /// It is writable again.
  void give_back() SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    --taken_;
    ++given_back_;
    changed_.notify_all();
  }

  /// For wait(): before an access that may be refused.
  [[nodiscard]] std::uint64_t before() const SLAT_EXCLUDES(mutex_) {
    mmu::MutexGuard guard(mutex_);
    return given_back_;
  }

  /// After an access that was refused: false if no range explains it. Else sleeps until one is given back, or for 10 ms,
  /// so that the caller can look whether it is to stop. No mmu lock held, and not within a VcpuGate, which whoever gives
  /// back may be closing.
  [[nodiscard]] bool wait(std::uint64_t before) SLAT_EXCLUDES(mutex_) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(10);
    mmu::MutexGuard guard(mutex_);
    if (given_back_ != before) return true;
    if (taken_ == 0) return false;
    while (given_back_ == before && guard.wait_until(changed_, deadline)) {
    }
    return true;
  }

 private:
  mutable mmu::Mutex mutex_; // a leaf
  std::condition_variable changed_;
  unsigned taken_ SLAT_GUARDED_BY(mutex_) = 0;
  std::uint64_t given_back_ SLAT_GUARDED_BY(mutex_) = 0;
};

} // namespace slat::vmm
