// MmShared: what the per-VMA locks (vma_refcount.hpp, vma_rwsem.hpp) know of an mm: its sequence,
// and what keeps it allocated.
//
// Who may change what
//   mm_lock_seq  the holder of the mm write lock: odd while it is held. A VMA whose vm_lock_seq equals
//                it is write-locked, so bumping it unlocks them all at once (vma_end_write_all)
//   pins         anybody who knows that the mm is alive (mmgrab, mmdrop)
//
// Orderings
//   mm_lock_seq, release  pairs with the acquire load in a reader's second check: a reader that finds
//                         the VMA of an earlier section unlocked sees all that was done in it (I08).
//                         *Both* bumps: the reader may read the odd value of a later section, which
//                         another thread wrote and which never touched this VMA. By way of the mm lock
//                         that thread knows the earlier section; a relaxed bump would not pass it on.
//
// Sequences have 64 bits: at one write lock a nanosecond they wrap after 292 years, so "already
// write-locked" can never be taken from a time before the wrap (I09); the kernel's 32 bits leave
// that to chance.
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"

#include <cstdint>

namespace slat::mmu {

/// The part of an mm that a VMA's readers may touch. Freed when the last pin is dropped
/// (mmgrab/mmdrop).
template <class A> struct MmSharedOf {
  explicit MmSharedOf(std::uint64_t first_seq = 0) : mm_lock_seq(first_seq) {}

  typename A::template atomic<std::uint64_t> mm_lock_seq;
  typename A::template atomic<std::uint32_t> vma_writer_waiting{
      0};                                                        // a writer sleeps or is about to
  typename A::template atomic<std::uint32_t> vma_writer_wake{0}; // what it sleeps on
  typename A::template atomic<std::uint32_t> pins{1};

  /// Caller knows that the mm is alive: it has a pin, or a count on an attached VMA of it.
  void grab() { pins.fetch_add(1, std::memory_order_relaxed); } // the caller's knowledge orders it

  /// True if that was the last pin: the caller frees the object.
  [[nodiscard]] bool drop() {
    return pins.fetch_sub(1, std::memory_order_acq_rel) ==
           1; // the last user's accesses happen before the free
  }

  /// The mm write lock has been taken: the sequence becomes odd.
  void begin_write() {
    const std::uint64_t seq =
        mm_lock_seq.load(std::memory_order_relaxed); // the lock orders writers
    SLAT_ASSERT((seq & 1) == 0, "mm sequence odd without a writer");
    // Release: for earlier sections' sake; pairs with the second check (I08).
    mm_lock_seq.store(seq + 1, std::memory_order_release);
  }

  /// Unlocks every VMA that was write-locked, before the mm lock itself is dropped.
  void end_write() {
    const std::uint64_t seq = mm_lock_seq.load(std::memory_order_relaxed); // this thread wrote it
    SLAT_ASSERT((seq & 1) == 1, "mm sequence even inside a writer");
    // Release: for this section's; pairs with the second check (I08).
    mm_lock_seq.store(seq + 1, std::memory_order_release);
  }
};

/// What came of the attempt to read-lock a VMA that was found under RCU.
enum class VmaReadLock {
  locked,    // the VMA is this mm's, attached and read-locked
  contended, // a writer is inside, or too many readers: fall back to the mm read lock
  detached,  // not in a tree, or not in this mm's: walk again
};

using MmShared = MmSharedOf<StdAtomics>;

} // namespace slat::mmu
