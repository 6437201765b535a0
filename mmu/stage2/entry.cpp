#include "mmu/stage2/entry.hpp"

#include <atomic>

namespace slat::mmu::stage2::detail {

std::uint64_t claim_frozen_entry() {
  static std::atomic<std::uint64_t> last{0};
  // 2^40 threads fit. Relaxed: the number is all that matters.
  return this_frozen_entry =
             frozen_bit | ((last.fetch_add(1, std::memory_order_relaxed) + 1) << 12 & address_mask);
}

} // namespace slat::mmu::stage2::detail
