// FaultAround: a FaultStream for each of many faulting threads, for those who serve them all.
#pragma once

#include "mmu/thread_safety.hpp"
#include "vmm/fault_stream.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace slat::vmm {

class FaultAround {
 public:
  static constexpr std::uint32_t max_pages = FaultStream::max_pages;
  using Window = FaultWindow;

  /// `base` pages: a power of two from 1 (no neighbours, ever) to max_pages.
  explicit FaultAround(std::uint32_t base) : base_(base) {}

  /// Another base from now on; for benchmarks. Any thread.
  void set_base(std::uint32_t base) { base_.store(base, std::memory_order_relaxed); } // a hint

  /// The window for a fault of `thread` (any number that tells faulting threads apart). Any thread.
  [[nodiscard]] Window window(std::uint32_t thread, std::uintptr_t address) SLAT_EXCLUDES(mutex_) {
    const std::uint32_t base = base_.load(std::memory_order_relaxed); // see set_base()
    if (base == 1) return FaultStream().window(1, address);
    mmu::MutexGuard guard(mutex_);
    Slot& slot = slots_[thread % slots_.size()];
    if (slot.thread != thread) slot = {thread, {}}; // a collision costs a small window
    return slot.stream.window(base, address);
  }

 private:
  struct Slot {
    std::uint32_t thread = 0;
    FaultStream stream;
  };

  std::atomic<std::uint32_t> base_;
  mmu::Mutex mutex_;
  std::array<Slot, 64> slots_ SLAT_GUARDED_BY(mutex_);
};

} // namespace slat::vmm
