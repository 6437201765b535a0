// Pins: how a device holds a pointer into guest memory (I26). This is the protocol; the
// TranslationCache is built on it.
//
// A pin is a count in each page word and a record of the whole of it. The count is what a removal
// waits on; the records are how an invalidator, who knows addresses and no pages, finds the counts.
//
// Record: free --try_claim()--> writing --publish()--> published --withdraw()--> free
//   All but read() by the pinner alone. The state is the low two bits of `version_`, which only
//   grows: a reader that sees the version unchanged has read one pin's fields, whole.
//
// Pinner                                    Invalidator
//   snapshot of the sequence                  InvalidateSeq::begin: count the range; fence
//   find the translation                      for each record that covers a part of the range:
//   claim the record; count the pages           wait until its pages there are unpinned
//   publish the record                        drop translations; change, free, refill
//   fence                                     InvalidateSeq::end: sequence + 1, count - 1
//   stale? then unpin, withdraw: not used
//   use the pages
//   unpin (release); withdraw (release)
//
// Why it is right. "Pin, fence, look at ranges" against "count the range, fence, look at pins": one
// sees the other. If the pinner's fence comes first, the invalidator finds the published record and
// its counts, or newer values of either, which mean that the pin has been dropped; it acquires what
// the user did to the pages from the release of unpin() or of withdraw(). If it comes second, the
// pinner sees the range in progress, or, if that has ended, the sequence moved since before it found
// the translation (see invalidate_seq.hpp). So a translation that was found before a range began is
// never used after its start, however old it is: that is what lets translations be cached.
//
// Publishing before the check may show an invalidator a pin that is about to be dropped. It waits
// for it: for a few instructions.
#pragma once

#include "mmu/invalidate_seq.hpp" // Staleness
#include "mmu/page_word.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace slat::mmu {

/// What a pin covers: `count` pages from `start`, whose words are consecutive.
template <class A> struct PinnedPagesOf {
  std::uintptr_t start = 0; // guest view, page aligned
  std::uint64_t count = 0;
  PageWordOf<A>* words = nullptr;
  std::uintptr_t owner = 0; // the thread that pinned: anything that tells threads apart

  [[nodiscard]] std::uintptr_t end() const { return start + count * pin_page_size; }

  static constexpr std::uintptr_t pin_page_size = 4096;
};

template <class A> class alignas(64) PinRecordOf {
 public:
  using Pages = PinnedPagesOf<A>;

  /// free -> writing. Does not sleep.
  [[nodiscard]] bool try_claim() {
    std::uint64_t version = version_.load(std::memory_order_relaxed); // the CAS decides
    return (version & state_mask) == free_state &&
           // Acquire: the fields' last reader or writer comes before; pairs with withdraw().
           version_.compare_exchange_strong(version, version + 1, std::memory_order_acquire,
                                            std::memory_order_relaxed);
  }

  /// writing -> published.
  void publish(const Pages& pages) {
    // Release, each: who reads one of them reads a version at least as new as this pin's claim, and
    // sees that the fields are not all of one pin. Pairs with the acquires in read().
    start_.store(pages.start, std::memory_order_release);
    count_.store(pages.count, std::memory_order_release);
    words_.store(pages.words, std::memory_order_release);
    owner_.store(pages.owner, std::memory_order_release);
    version_.store(mine() + 1, std::memory_order_release); // pairs with the first load in read()
  }

  /// Back to free, from either. Release: pairs with try_claim(), and with an invalidator's read()
  /// that finds this pin gone.
  void withdraw() { version_.store((mine() | state_mask) + 1, std::memory_order_release); }

  /// The pages, if the record is published. Acquires what users of earlier pins did.
  [[nodiscard]] std::optional<Pages> read() const {
    const std::uint64_t version = version_.load(std::memory_order_acquire); // pairs with publish()
    if ((version & state_mask) != published_state) return std::nullopt;
    const Pages pages{start_.load(std::memory_order_acquire), // pairs with publish(), all four
                      count_.load(std::memory_order_acquire),
                      words_.load(std::memory_order_acquire),
                      owner_.load(std::memory_order_acquire)};
    // Changed: that pin is gone, and the next one was published after the range was counted.
    if (version_.load(std::memory_order_acquire) != version) return std::nullopt;
    return pages;
  }

 private:
  static constexpr std::uint64_t state_mask = 3;
  static constexpr std::uint64_t free_state = 0;
  static constexpr std::uint64_t published_state = 2;

  [[nodiscard]] std::uint64_t mine() const {
    return version_.load(std::memory_order_relaxed); // claimed by this thread: nobody else writes
  }

  template <class T> using atomic = typename A::template atomic<T>;
  atomic<std::uint64_t> version_{0};
  atomic<std::uintptr_t> start_{0};
  atomic<std::uint64_t> count_{0};
  atomic<PageWordOf<A>*> words_{nullptr};
  atomic<std::uintptr_t> owner_{0};
};

enum class PinAttempt {
  pinned,
  not_present, // the first page has no content: fault it in
  moved,       // a range ended since the snapshot: find the translation again
  in_progress, // a range in progress covers a page: wait for its end
};

/// Drops the pin and marks its pages (PageBits::accessed, dirty).
template <class A>
void unpin_pages(PinRecordOf<A>& record, const PinnedPagesOf<A>& pages, std::uint64_t set) {
  for (std::uint64_t i = 0; i < pages.count; ++i) pages.words[i].unpin(set);
  record.withdraw();
}

/// Pins as many of `pages` as are present, from the first on, by a translation that was found after
/// `snapshot` of `sequence` (an InvalidateSeq) was taken; `pages.count` becomes their number. The
/// record is claimed, and stays so only if the pin is good. Does not sleep. Whoever translated keeps
/// the words allocated meanwhile.
template <class A, class Sequence>
PinAttempt try_pin_pages(PinRecordOf<A>& record, PinnedPagesOf<A>& pages, std::uint64_t snapshot,
                         const Sequence& sequence) {
  std::uint64_t present = 0;
  while (present < pages.count && pages.words[present].try_pin_present()) ++present;
  pages.count = present;
  if (present == 0) {
    record.withdraw();
    return PinAttempt::not_present;
  }
  record.publish(pages);
  A::fence(); // pairs with the fence in InvalidateSeq::begin(), before an invalidator's read()
  const Staleness staleness = sequence.stale(snapshot, pages.start, pages.end());
  if (staleness == Staleness::fresh) return PinAttempt::pinned;
  unpin_pages(record, pages, 0);
  return staleness == Staleness::moved ? PinAttempt::moved : PinAttempt::in_progress;
}

enum class Drain { idle, drained, pinned };

/// The invalidator's half, for one record, once the range [start, end) is counted: waits until the
/// pages that both cover are unpinned, or if it may not sleep says `pinned` where they are not. The
/// caller keeps the words allocated, as try_pin_pages() does.
template <class A>
Drain drain_pages(const PinRecordOf<A>& record, std::uintptr_t start, std::uintptr_t end,
                  bool may_sleep) {
  const auto pages = record.read();
  if (!pages || pages->start >= end || pages->end() <= start) return Drain::idle;
  constexpr std::uintptr_t size = PinnedPagesOf<A>::pin_page_size;
  const std::uint64_t first = start > pages->start ? (start - pages->start) / size : 0;
  const std::uint64_t last = (std::min(end, pages->end()) - pages->start + size - 1) / size;
  Drain outcome = Drain::idle;
  for (std::uint64_t i = first; i < last; ++i) {
    PageWordOf<A>& word = pages->words[i];
    if (word.read().pins() == 0) continue;
    if (!may_sleep) return Drain::pinned;
    word.wait_unpinned();
    outcome = Drain::drained;
  }
  return outcome;
}

using PinRecord = PinRecordOf<StdAtomics>;
using PinnedPages = PinnedPagesOf<StdAtomics>;

} // namespace slat::mmu
