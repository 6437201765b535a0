// FaultStream: which neighbours the faults of one thread bring in. A fault out of the blue gets the aligned block of
// `base` pages around it; one that continues where the last window ended gets twice the last window, forward.
#pragma once

#include "mmu/host.hpp"

#include <algorithm>
#include <cstdint>

namespace slat::vmm {

struct FaultWindow {
  std::uintptr_t start; // page aligned
  std::uintptr_t end;   // exclusive; holds the faulting page
};

/// One thread at a time.
class FaultStream {
 public:
  static constexpr std::uint32_t max_pages = 512;

  /// `base` pages: a power of two from 1 (no neighbours, ever) to max_pages.
  [[nodiscard]] FaultWindow window(std::uint32_t base, std::uintptr_t address) {
    const std::uintptr_t page = address >> mmu::page_shift;
    if (base == 1) return {page << mmu::page_shift, (page + 1) << mmu::page_shift};
    const bool continues = next_ == page;
    const std::uintptr_t first = continues ? page : page & ~std::uintptr_t(base - 1);
    pages_ = continues ? std::min(pages_ * 2, max_pages) : base;
    next_ = first + pages_;
    return {first << mmu::page_shift, next_ << mmu::page_shift};
  }

 private:
  std::uint32_t pages_ = 1;
  std::uintptr_t next_ = 0; // page number; 0 is never a fault's
};

} // namespace slat::vmm
