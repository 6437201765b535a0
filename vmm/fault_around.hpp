// FaultAround: how many neighbours a fault brings in. A fault out of the blue gets the aligned block of `base` pages
// around it; one that continues where the same thread's last window ended gets twice the last window, forward.
#pragma once

#include "mmu/host.hpp"
#include "mmu/thread_safety.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace slat::vmm {

class FaultAround {
 public:
  static constexpr std::uint32_t max_pages = 512;

  struct Window {
    std::uintptr_t start; // page aligned
    std::uintptr_t end;   // exclusive; holds the faulting page
  };

  /// `base` pages: a power of two from 1 (no neighbours, ever) to max_pages.
  explicit FaultAround(std::uint32_t base) : base_(base) {}

  /// Another base from now on; for benchmarks. Any thread.
  void set_base(std::uint32_t base) { base_.store(base, std::memory_order_relaxed); } // a hint

  /// The window for a fault of `thread` (any number that tells faulting threads apart). Any thread.
  [[nodiscard]] Window window(std::uint32_t thread, std::uintptr_t address) SLAT_EXCLUDES(mutex_) {
    const std::uintptr_t page = address >> mmu::page_shift;
    const std::uint32_t base = base_.load(std::memory_order_relaxed); // see set_base()
    if (base == 1) return bytes(page, page + 1);
    mmu::MutexGuard guard(mutex_);
    Stream& stream = streams_[thread % streams_.size()];
    const bool continues = stream.thread == thread && stream.next == page;
    const std::uintptr_t first = continues ? page : page & ~std::uintptr_t(base - 1);
    stream.pages = continues ? std::min(stream.pages * 2, max_pages) : base;
    stream.thread = thread;
    stream.next = first + stream.pages;
    return bytes(first, stream.next);
  }

 private:
  static Window bytes(std::uintptr_t first, std::uintptr_t last) {
    return {first << mmu::page_shift, last << mmu::page_shift};
  }

  struct Stream {
    std::uint32_t thread = 0;
    std::uint32_t pages = 1;
    std::uintptr_t next = 0; // page number; 0 is never a fault's
  };

  std::atomic<std::uint32_t> base_;
  mmu::Mutex mutex_;
  std::array<Stream, 64> streams_ SLAT_GUARDED_BY(mutex_); // a collision costs a small window
};

} // namespace slat::vmm
