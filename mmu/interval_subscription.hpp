// IntervalSubscription: a notifier for one interval, for users that look a page up, then check that
// it is still the page, then use it (the kernel's mmu_interval_notifier).
//
//   do {
//     seq = subscription.read_begin();   // sleeps while the interval is being invalidated
//     ... look the pages up ...
//     lock what invalidated() takes too
//   } while (subscription.read_retry(seq) && (unlock, true));
//   ... use the pages under that lock ...
//
// Limits. Each subscription is a subscriber of the chain of its own: a range calls all of them, and
// those that it does not overlap return at once. That is linear (a few ns each), not O(log n + k) as
// with an interval tree, and insert() and remove() each wait for the ranges in progress or a grace
// period. Right for some tens of long-lived intervals; thousands want a tree behind one subscriber.
#pragma once

#include "mmu/notifier.hpp"

#include <functional>

namespace slat::mmu {

class IntervalSubscription final : public Notifier {
 public:
  /// Watches [start, end). `invalidated` runs at each start of a range that overlaps it, takes the
  /// user's lock, stops using the pages and returns true; it may sleep if the range is blockable,
  /// otherwise return false instead.
  IntervalSubscription(NotifierChain& chain, std::uintptr_t start, std::uintptr_t end,
                       std::function<bool(const NotifierRange&)> invalidated)
      : chain_(&chain), start_(start), end_(end), invalidated_(std::move(invalidated)) {}

  /// Subscribes. As NotifierChain::register_notifier().
  Result<void> insert() { return chain_->register_notifier(*this); }

  /// Unsubscribes. As NotifierChain::unregister_notifier().
  void remove() { chain_->unregister_notifier(*this); }

  /// A sequence to check later. Sleeps while a range in progress overlaps the interval; no lock
  /// that invalidated() takes may be held.
  [[nodiscard]] std::uint64_t read_begin() {
    for (;;) {
      const std::uint64_t seq = sequence_.snapshot();
      if (!sequence_.in_progress(start_, end_)) return seq;
      sequence_.wait(start_, end_);
    }
  }

  /// True if what was looked up since read_begin() may be gone. Under the lock that invalidated()
  /// takes.
  [[nodiscard]] bool read_retry(std::uint64_t seq) const {
    StdAtomics::fence(); // the user's lock is the intent; pairs with the fence in
                         // InvalidateSeq::begin()
    return sequence_.stale(seq, start_, end_) != Staleness::fresh;
  }

  bool invalidate_range_start(const NotifierRange& range) override {
    if (!overlaps(range)) return true;
    sequence_.begin(range.start, range.end);
    if (invalidated_(range)) return true;
    sequence_.end(range.start, range.end);
    return false;
  }

  void invalidate_range_end(const NotifierRange& range) override {
    if (overlaps(range)) sequence_.end(range.start, range.end);
  }

 private:
  [[nodiscard]] bool overlaps(const NotifierRange& range) const {
    return range.start < end_ && start_ < range.end;
  }

  NotifierChain* chain_;
  std::uintptr_t start_;
  std::uintptr_t end_;
  std::function<bool(const NotifierRange&)> invalidated_;
  InvalidateSeq sequence_;
};

} // namespace slat::mmu
