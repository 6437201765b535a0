// InvalidateSeq: tells a fault whether what it resolved may have been invalidated since it began.
// After the kernel's mmu_invalidate_seq, mmu_invalidate_in_progress, mmu_invalidate_retry_gfn().
//
// State: a count of ranges in progress; the ranges themselves, each in a slot of its own, and those
// that found none free as a hull of them; and a sequence that every end() bumps. A slot whose end
// is 0 is free; a hull likewise covers nothing.
//   begin(range)  under the inner mutex: store the range into a free slot, or widen the hull;
//                 count++; then a full fence. Only then does the invalidator look at page locks or
//                 entries.
//   end(range)    under the inner mutex: sequence++; free the slot, or drop the hull if the range
//                 was the last in it; then count--
//   snapshot()    the sequence, before the fault resolves anything (I21)
//   stale(s, r)   after the fault has published its intent (page locked, entry FROZEN) and a full
//                 fence: does a range in progress cover r, or is the sequence no longer s?
// Equal ranges are interchangeable: if one of two is in a slot and one in the hull, the first to
// end frees the slot, and the hull stands for the other. (A fault whose snapshot has seen that end
// has seen the begin of the one in the hull.)
//
// Why it is right. The fault does "intent; fence; read count and slots", the invalidator "slot,
// count++; fence; read intent", so one of them sees the other. If the fault's fence comes second,
// then for the count and for both words of the slot the fault reads what this begin() stored, or
// something newer. If the range is still in progress there is nothing newer but a higher count and
// a wider hull, and the fault sees the range. If it has ended, the fault reads only such values,
// and is stale by them, or a newer one: of the count, or of a word of the slot or the hull, each
// stored after the bump of the sequence in end() or by a later begin(). Every one of these is
// stored with release and read with acquire, so the bump is visible to the last load. (A slot that
// is read half old, half new is a case of the latter.) Hence the order of loads in stale() and of
// stores in end() (I22).
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"
#include "mmu/thread_safety.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace slat::mmu {

enum class Staleness {
  fresh,       // nothing happened: install
  moved,       // a range ended since the snapshot: start again
  in_progress, // a range in progress covers the address: wait for it, then start again
};

/// `Slots`: ranges in progress that are told apart; what more there are share a hull.
template <class A, class M = Mutex, unsigned Slots = 8> class InvalidateSeqOf {
 public:
  explicit InvalidateSeqOf(std::uint64_t first = 0) : sequence_(first) {}

  /// Starts [start, end), which is not empty. Does not sleep but for the inner mutex, which is held
  /// for a few stores only.
  void begin(std::uint64_t start, std::uint64_t end) {
    SLAT_ASSERT(start < end, "an empty range is invalidated");
    mutex_.lock();
    if (Range* const slot = find(0)) {
      slot->set(start, end);
    } else {
      if (const auto [hull_start, hull_end] = hull_.get(); hull_end != 0) {
        start = std::min(start, hull_start);
        end = std::max(end, hull_end);
      }
      hull_.set(start, end);
      in_hull_.set(in_hull_.get() + 1);
    }
    count_.store(count_.load(std::memory_order_relaxed) + 1, // written under the mutex only
                 std::memory_order_release);                 // pairs with the acquire in stale()
    mutex_.unlock();
    A::fence(); // pairs with the fence between a fault's intent and its stale()
  }

  /// Ends a range as it was begun. The sequence moves before the slot is free and the count drops
  /// (I22). Wakes waiters.
  void end(std::uint64_t start, std::uint64_t end) {
    mutex_.lock();
    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, // written under the mutex only
                    std::memory_order_release); // pairs with snapshot() and stale()
    if (Range* const slot = find(end, start)) {
      slot->clear();
    } else {
      const unsigned left = in_hull_.get() - 1;
      SLAT_ASSERT(left + 1 != 0, "invalidate_range_end without its start (I22)");
      in_hull_.set(left);
      if (left == 0) hull_.clear();
    }
    count_.store(count_.load(std::memory_order_relaxed) - 1, // the same
                 std::memory_order_release);                 // pairs with the acquire in stale()
    wakes_.store(wakes_.load(std::memory_order_relaxed) + 1, // the same
                 std::memory_order_release);                 // pairs with the acquire in wait()
    mutex_.unlock();
    A::fence(); // "count dropped, then look for waiters" pairs with "announce, then look" in wait()
    if (waiters_.load(std::memory_order_relaxed) != 0) A::wake_all(wakes_); // ordered by the fence
  }

  /// To be taken before anything is resolved. Acquire: what the last ended range did is visible.
  [[nodiscard]] std::uint64_t snapshot() const { return sequence_.load(std::memory_order_acquire); }

  /// The deciding check. The caller has published its intent and then called A::fence(). Does not
  /// sleep.
  [[nodiscard]] Staleness stale(std::uint64_t snapshot, std::uint64_t start,
                                std::uint64_t end) const {
    if (in_progress(start, end)) return Staleness::in_progress;
    return sequence_.load(std::memory_order_acquire) == snapshot ? Staleness::fresh
                                                                 : Staleness::moved;
  }

  /// True if a range in progress covers a part of [start, end). With more than `Slots` ranges in
  /// progress it may be true for what lies between some of them, too.
  [[nodiscard]] bool in_progress(std::uint64_t start, std::uint64_t end) const {
    if (count_.load(std::memory_order_acquire) == 0) return false;
    for (const Range& slot : slots_)
      if (slot.covers(start, end)) return true;
    return hull_.covers(start, end);
  }

  /// Sleeps until no range in progress covers [start, end). No page or VMA lock held, and not
  /// inside a range of one's own that covers it.
  void wait(std::uint64_t start, std::uint64_t end) {
    if (!in_progress(start, end)) return;
    waiters_.fetch_add(1, std::memory_order_relaxed); // ordered by the fence below
    for (;;) {
      // Not the sequence: it moves before the count drops, so a waiter could see it moved, the
      // range still in progress, and sleep through the only wake-up. wakes_ moves after: whoever
      // reads the new value sees the drop.
      const std::uint32_t seen = wakes_.load(std::memory_order_acquire); // pairs with end()
      A::fence(); // pairs with the fence in end()
      if (!in_progress(start, end)) break;
      A::wait_while(wakes_, seen);
    }
    waiters_.fetch_sub(1, std::memory_order_relaxed); // a late wake-up costs nothing
  }

  /// Ranges in progress, for tests and reports.
  [[nodiscard]] std::uint64_t count() const { return count_.load(std::memory_order_acquire); }

 private:
  template <class T> using atomic = typename A::template atomic<T>;

  /// Written under the mutex only, and read without it. All stores pair with the loads of covers().
  class Range {
   public:
    void set(std::uint64_t start, std::uint64_t end) {
      start_.store(start, std::memory_order_release);
      end_.store(end, std::memory_order_release);
    }

    void clear() { end_.store(0, std::memory_order_release); }

    /// Under the mutex.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> get() const {
      return {start_.load(std::memory_order_relaxed), end_.load(std::memory_order_relaxed)};
    }

    [[nodiscard]] bool covers(std::uint64_t start, std::uint64_t end) const {
      // The end first: whoever sees a new end sees its start, or a newer one.
      return start < end_.load(std::memory_order_acquire) &&
             start_.load(std::memory_order_acquire) < end;
    }

   private:
    atomic<std::uint64_t> start_{0};
    atomic<std::uint64_t> end_{0};
  };

  /// Under the mutex: a slot with that end and, unless it is a free one, that start.
  [[nodiscard]] Range* find(std::uint64_t end, std::uint64_t start = 0) {
    for (Range& slot : slots_) {
      const auto [slot_start, slot_end] = slot.get();
      if (slot_end == end && (end == 0 || slot_start == start)) return &slot;
    }
    return nullptr;
  }

  M mutex_; // serialises begin() and end(); readers take no lock
  atomic<std::uint64_t> count_{0};
  atomic<std::uint64_t> sequence_;
  Range slots_[Slots];
  Range hull_;
  typename A::template var<unsigned> in_hull_{0}; // ranges in the hull; under the mutex
  atomic<std::uint32_t> wakes_{0};                // what wait() sleeps on
  atomic<std::uint32_t> waiters_{0};
};

using InvalidateSeq = InvalidateSeqOf<StdAtomics>;

} // namespace slat::mmu
