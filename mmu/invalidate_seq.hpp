// InvalidateSeq: tells a fault whether what it resolved may have been invalidated since it began.
// After the kernel's mmu_invalidate_seq, mmu_invalidate_in_progress, mmu_invalidate_retry_gfn().
//
// State: a count of ranges in progress, their hull, and a sequence that every end() bumps.
//   begin(range)  under the inner mutex: widen the hull (reset it if the count is 0), count++; then
//                 a full fence. Only then does the invalidator look at page locks or entries.
//   end()         under the inner mutex: sequence++, then count--
//   snapshot()    the sequence, before the fault resolves anything (I21)
//   stale(s, r)   after the fault has published its intent (page locked, entry FROZEN) and a full
//                 fence: does a range in progress cover r, or is the sequence no longer s?
//
// Why it is right. The fault does "intent; fence; read count", the invalidator "count++; fence;
// read intent", so one of them sees the other. If the fault's fence comes second and the range is
// still in progress, the count and a hull that covers it are visible: the hull only widens while
// the count is not 0. If the range has ended already, the fault reads either that old count or
// hull, and is stale by them, or a newer count (acquire; pairs with the release in end() and
// begin()) or a newer hull (likewise): then the bump of the sequence, which precedes both, is
// visible to the last load. Hence the order of loads in stale() and of stores in end() (I22).
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"
#include "mmu/thread_safety.hpp"

#include <algorithm>
#include <cstdint>

namespace slat::mmu {

enum class Staleness {
  fresh,       // nothing happened: install
  moved,       // a range ended since the snapshot: start again
  in_progress, // a range in progress covers the address: wait for it, then start again
};

template <class A, class M = Mutex> class InvalidateSeqOf {
 public:
  explicit InvalidateSeqOf(std::uint64_t first = 0) : sequence_(first) {}

  /// Starts [start, end). Does not sleep but for the inner mutex, which is held for a few stores
  /// only.
  void begin(std::uint64_t start, std::uint64_t end) {
    mutex_.lock();
    const std::uint64_t count =
        count_.load(std::memory_order_relaxed); // written under the mutex only
    if (count != 0) {
      start = std::min(start, hull_start_.load(std::memory_order_relaxed)); // the same
      end = std::max(end, hull_end_.load(std::memory_order_relaxed));       // the same
    }
    hull_start_.store(start, std::memory_order_release); // pairs with the acquire in stale()
    hull_end_.store(end, std::memory_order_release);     // the same
    count_.store(count + 1, std::memory_order_release);  // the same
    mutex_.unlock();
    A::fence(); // pairs with the fence between a fault's intent and its stale()
  }

  /// Ends one range. The sequence moves before the count drops (I22). Wakes waiters.
  void end() {
    mutex_.lock();
    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, // written under the mutex only
                    std::memory_order_release); // pairs with snapshot() and stale()
    const std::uint64_t count = count_.load(std::memory_order_relaxed); // the same
    SLAT_ASSERT(count != 0, "invalidate_range_end without its start (I22)");
    count_.store(count - 1, std::memory_order_release);      // pairs with the acquire in stale()
    wakes_.store(wakes_.load(std::memory_order_relaxed) + 1, // written under the mutex only
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

  /// True if a range in progress covers a part of [start, end); may be true for its neighbours too
  /// (a hull).
  [[nodiscard]] bool in_progress(std::uint64_t start, std::uint64_t end) const {
    if (count_.load(std::memory_order_acquire) == 0) return false;
    return start < hull_end_.load(std::memory_order_acquire) &&
           hull_start_.load(std::memory_order_acquire) < end;
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
  M mutex_; // serialises begin() and end(); readers take no lock
  atomic<std::uint64_t> count_{0};
  atomic<std::uint64_t> hull_start_{0};
  atomic<std::uint64_t> hull_end_{0};
  atomic<std::uint64_t> sequence_;
  atomic<std::uint32_t> wakes_{0}; // what wait() sleeps on
  atomic<std::uint32_t> waiters_{0};
};

using InvalidateSeq = InvalidateSeqOf<StdAtomics>;

} // namespace slat::mmu
