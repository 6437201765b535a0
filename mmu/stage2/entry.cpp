#include "mmu/stage2/entry.hpp"

#include <atomic>

namespace slat::mmu::stage2 {

namespace {

constinit thread_local std::uint64_t mine = 0;

std::uint64_t claim() {
  static std::atomic<std::uint64_t> last{0};
  // 2^40 threads fit. Relaxed: the number is all that matters.
  mine = frozen_bit | ((last.fetch_add(1, std::memory_order_relaxed) + 1) << 12 & address_mask);
  return mine;
}

} // namespace

std::uint64_t frozen_entry() {
  return mine != 0 ? mine : claim();
}

} // namespace slat::mmu::stage2
