// The SRCU protocol: read sections that may sleep, one domain apart from every other (I25).
// After the kernel's classic SRCU (Lai Jiangshan's and Paul McKenney's per-CPU lock and unlock
// counts).
//
// State: an index that names the current side; per slot and side a count of locks and one of
// unlocks, which only grow and may wrap (their difference is what counts). A slot's words are
// written by its owner alone, with a load and a store; the last slot is shared, and its words are
// changed by read-modify-writes only (thread_slot.hpp).
//   reader       idx = index; locks[idx]++; light fence B; ...; unlocks[idx]++ (release C);
//                light fence C'; look for a waiter
//   synchronize  (one at a time) wait until the idle side is empty; flip; wait until the other is
//   empty(idx)   sum the unlocks; heavy fence A; sum the locks; equal?
//
// Why two waits. A reader may load the index and stop; a flip later it counts on the side that is
// idle by then. A single flip-and-wait would let the next synchronize, which flips back, overtake
// it; the wait on the idle side before the flip catches those stragglers. (One phase is the
// negative control of the model.)
// Why sums of plain stores are right. In the modification order of a word each value is one more
// than the one before it: the owner of an exclusive slot loads what it stored last, or what the
// last owner left (the hand-over orders that), and nobody else writes. So a value read names a set
// of first locks or unlocks of that slot, whichever thread reads it, as it does with fetch_add.
// Orderings. B pairs with A, stores before loads: if the store of a lock is not in the sum, then A
// precedes B, and the section sees all that was done before A, the unlinking included. No
// instruction of the reader orders its store before its loads, so this stands on the fences alone
// (where fence_light() is free, on membarrier). C pairs with the acquire of the sum: what the
// section read, it read before the grace period ended; a value of the sum is the release store of
// the last unlock in it, which the earlier ones of the slot happen before (program order and the
// hand-over; in the shared slot the release sequence). Unlocks are summed first, and each happens
// after its lock, on whichever threads and slots the two were: so no section is counted as ended
// without having begun, and equal sums mean that every lock counted has its unlock. "Unlock, then
// look for a waiter" and "announce, then sum" are ordered by C' and A.
#pragma once

#include "mmu/atomics.hpp"
#include "mmu/thread_slot.hpp"

#include <cstdint>

namespace slat::mmu {

/// `Slots` - 1 exclusive slots and a shared one.
template <class A, unsigned Slots> class SrcuCore {
 public:
  /// Begins a section; returns the index to give back. Never sleeps. Nestable; sections may end in
  /// any order, and on another thread (in that one's slot) if the caller orders that. `slot` is the
  /// calling thread's alone, or Slots - 1. Not for signal handlers.
  [[nodiscard]] unsigned read_lock(unsigned slot) {
    const unsigned idx =
        index_.load(std::memory_order_relaxed) & 1; // a stale side is what the two waits are for
    add_in_slot(slots_[slot].locks[idx], 1u, slot == Slots - 1,
                std::memory_order_relaxed); // ordered by the fence
    A::fence_light();                       // B; pairs with A in empty()
    return idx;
  }

  void read_unlock(unsigned idx, unsigned slot) {
    add_in_slot(slots_[slot].unlocks[idx], 1u, slot == Slots - 1,
                std::memory_order_release); // C; pairs with the acquire sum in empty()
    A::fence_light();                       // C': "unlocked, then look for a waiter"; pairs with A
    if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]] // ordered by the fence
      wake();
  }

  /// One grace period. The caller serialises calls, is in no section of this domain, and may sleep
  /// here.
  void synchronize() {
    A::fence_heavy(); // the caller's unlinking comes before the sums; pairs with B
    const unsigned current =
        index_.load(std::memory_order_relaxed) & 1; // written by synchronize only
    wait_until_empty(current ^ 1);
    index_.store(current ^ 1, std::memory_order_relaxed); // a reader on either side is waited for
    A::fence_heavy(); // the flip comes before the second wait's sums; pairs with B
    wait_until_empty(current);
    A::fence_heavy(); // what the caller frees comes after the sums
  }

  /// For tests: sections that have begun and not ended. Exact only when nothing moves.
  [[nodiscard]] std::uint32_t readers() const {
    std::uint32_t sum = 0;
    for (const Slot& slot : slots_)
      for (unsigned idx = 0; idx < 2; ++idx)
        sum += slot.locks[idx].load(std::memory_order_acquire) -
               slot.unlocks[idx].load(std::memory_order_acquire);
    return sum;
  }

  /// For tests: all counters start here, just below their wrap.
  explicit SrcuCore(std::uint32_t first = 0) {
    for (Slot& slot : slots_)
      for (unsigned idx = 0; idx < 2; ++idx) {
        slot.locks[idx].store(first, std::memory_order_relaxed);   // not yet shared
        slot.unlocks[idx].store(first, std::memory_order_relaxed); // not yet shared
      }
  }

 private:
  template <class T> using atomic = typename A::template atomic<T>;

  struct alignas(64) Slot {
    atomic<std::uint32_t> locks[2];
    atomic<std::uint32_t> unlocks[2];
  };

  [[nodiscard]] bool empty(unsigned idx) const {
    std::uint32_t unlocks = 0;
    for (const Slot& slot : slots_)
      unlocks += slot.unlocks[idx].load(std::memory_order_acquire); // pairs with C
    A::fence_heavy();                                               // A
    std::uint32_t locks = 0;
    for (const Slot& slot : slots_)
      locks += slot.locks[idx].load(std::memory_order_relaxed); // ordered by A
    return locks == unlocks;
  }

  void wait_until_empty(unsigned idx) {
    if (empty(idx)) return;
    waiting_.store(1, std::memory_order_relaxed); // announced by the heavy fence inside empty()
    for (;;) {
      const std::uint32_t seen = wakes_.load(std::memory_order_acquire); // pairs with wake()
      A::fence_heavy(); // "announce, then sum the unlocks"; pairs with C'
      if (empty(idx)) break;
      A::wait_while(wakes_, seen);
    }
    waiting_.store(0, std::memory_order_relaxed); // a late wake-up costs nothing
  }

  void wake() {
    wakes_.fetch_add(1, std::memory_order_release); // pairs with the acquire in wait_until_empty()
    A::wake_all(wakes_);
  }

  atomic<std::uint32_t> index_{0};
  atomic<std::uint32_t> waiting_{0};
  atomic<std::uint32_t> wakes_{0};
  Slot slots_[Slots];
};

} // namespace slat::mmu
