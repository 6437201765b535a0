#include "mmu/thread_slot.hpp"

#include <utility>

namespace slat::mmu::detail {

namespace {

constinit SlotPool<StdAtomics, exclusive_thread_slots> pool; // never destroyed: exits use it

struct GiveBackAtExit {
  GiveBackAtExit() = default;
  GiveBackAtExit(const GiveBackAtExit&) = delete;
  GiveBackAtExit& operator=(const GiveBackAtExit&) = delete;

  ~GiveBackAtExit() {
    // First the thread stops using it: later destructors of this thread may still count.
    const unsigned slot = std::exchange(this_thread_slot, shared_thread_slot);
    if (slot < exclusive_thread_slots) pool.give_back(slot);
  }
};

} // namespace

unsigned claim_thread_slot() {
  if (this_thread_slot != no_thread_slot) return this_thread_slot; // one that shares
  [[maybe_unused]] static thread_local const GiveBackAtExit at_exit;
  return this_thread_slot = pool.claim();
}

} // namespace slat::mmu::detail
