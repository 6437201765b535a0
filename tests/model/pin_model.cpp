// Pins against ranges: what a device has pinned is neither freed nor moved away under it, and no
// translation that was found before a range is used after its start (I26). PinRecord, PageWord and
// InvalidateSeq are the product's, and so are the pinner's and the invalidator's halves; the model
// adds a guest address that means one page or another, and a cached translation of it.
#include "mmu/pin.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

using Seq = mmu::InvalidateSeqOf<RelacyAtomics, ModelMutex>;
using Word = mmu::PageWordOf<RelacyAtomics>;
using Record = mmu::PinRecordOf<RelacyAtomics>;
using Pages = mmu::PinnedPagesOf<RelacyAtomics>;
using mmu::PageState;
using mmu::PinAttempt;

constexpr int nothing = -1;
constexpr std::uintptr_t page_bytes = 4096;
constexpr int freed = -7;

/// Two host pages; guest page 0 means one of them. Whoever uses a page uses its content without any
/// order of its own: a use during a removal is a data race.
template <int Pinners> struct Device {
  void populate() {
    for (int page = 0; page < 2; ++page) {
      PageState was{};
      MODEL_CHECK(word[page].claim_fill(was) == mmu::FillClaim::claimed);
      for (auto& one : content[page]) one.set(page);
      word[page].finish_fill(PageState::present);
    }
  }

  /// As TranslationCache::attempt(). True if it got at the page.
  bool dma(unsigned self, bool cached) {
    const std::uint64_t snapshot = seq.snapshot();
    int page = cached ? entry.load(std::memory_order_acquire) : nothing;
    const bool hit = page != nothing;
    if (!hit) page = current.load(std::memory_order_relaxed); // the VMA lookup; must need no order
    if (!record[self].try_claim()) MODEL_FAIL("a record of one's own is taken");
    Pages pages{0, 1, &word[page], self};
    const PinAttempt attempt = mmu::try_pin_pages(record[self], pages, snapshot, seq);
    if (attempt == PinAttempt::in_progress) seq.wait(0, page_bytes);
    if (attempt != PinAttempt::pinned) return false;
    MODEL_CHECK(content[page][self].get() == page); // not one that was freed
    content[page][self].set(page);
    mmu::unpin_pages(record[self], pages, mmu::PageBits::dirty);
    // Later than the product does: what is entered is a whole VMA, of which the pin protects a part.
    if (cached && !hit) {
      mutex.lock();
      RelacyAtomics::fence();
      if (seq.stale(snapshot, 0, page_bytes) == mmu::Staleness::fresh)
        entry.store(page, std::memory_order_release);
      mutex.unlock();
    }
    return true;
  }

  /// As TranslationCache::invalidate_range_start().
  bool start(bool may_sleep = true) {
    seq.begin(0, page_bytes);
    bool clear = true;
    for (Record& one : record)
      clear = clear && mmu::drain_pages(one, 0, page_bytes, may_sleep) != mmu::Drain::pinned;
    mutex.lock();
    entry.store(nothing, std::memory_order_relaxed); // the mutex and the sequence order it
    mutex.unlock();
    if (!clear) seq.end(0, page_bytes);
    return clear;
  }

  void end() { seq.end(0, page_bytes); }

  /// Guest page 0 becomes the other host page; this one is freed for good.
  void move_and_free() {
    const int old =
        current.exchange(1 - current.load(std::memory_order_relaxed), std::memory_order_relaxed);
    for (auto& one : content[old]) one.set(freed);
  }

  /// What the page holds is taken away, and it is filled again.
  void remove_and_refill() {
    for (auto& one : content[0]) one.set(freed);
    for (auto& one : content[0]) one.set(0);
  }

  void at_rest() {
    for (Word& one : word) MODEL_CHECK(one.read().pins() == 0 && !one.read().owned());
    for (Record& one : record) MODEL_CHECK(!one.read());
    MODEL_CHECK(seq.count() == 0);
  }

  Seq seq{~std::uint64_t(0)};
  ModelMutex mutex;
  Word word[2];
  Record record[Pinners];
  RelacyAtomics::var<int> content[2][Pinners]; // each device has a part of a page
  RelacyAtomics::atomic<int> current{0};
  RelacyAtomics::atomic<int> entry{nothing};
};

/// Devices pin the page again and again while its content goes and comes back.
template <int Pinners, int Rounds> struct Removal : Model<Removal<Pinners, Rounds>, Pinners + 1> {
  void setup() { device.populate(); }

  void thread(unsigned index) {
    for (int i = 0; i < Rounds; ++i)
      if (index != Pinners) {
        (void)device.dma(index, false);
      } else {
        (void)device.start();
        device.remove_and_refill();
        device.end();
      }
  }

  void after() { device.at_rest(); }

  Device<Pinners> device;
};

/// The translation changes, with a cache of it: an old one is never used.
template <int Pinners> struct Move : Model<Move<Pinners>, Pinners + 1> {
  void setup() { device.populate(); }

  void thread(unsigned index) {
    if (index != Pinners) {
      (void)device.dma(index, true);
      (void)device.dma(index, true);
      return;
    }
    (void)device.start();
    device.move_and_free();
    device.end();
  }

  void after() { device.at_rest(); }

  Device<Pinners> device;
};

/// Two ranges over the page at once, of which one changes it; the other is none of its business.
struct ParallelRanges : Model<ParallelRanges, 3> {
  void setup() { device.populate(); }

  void thread(unsigned index) {
    if (index == 0) {
      (void)device.dma(0, true);
      (void)device.dma(0, true);
      return;
    }
    (void)device.start();
    if (index == 1) device.move_and_free();
    device.end();
  }

  void after() { device.at_rest(); }

  Device<1> device;
};

/// Non-blockable ranges: refused while the page is pinned, and good if they are not.
struct NonBlockable : Model<NonBlockable, 2> {
  void setup() { device.populate(); }

  void thread(unsigned index) {
    for (int i = 0; i < 2; ++i)
      if (index == 0) {
        (void)device.dma(0, false);
      } else if (device.start(/*may_sleep=*/false)) {
        device.remove_and_refill();
        device.end();
      }
  }

  void after() { device.at_rest(); }

  Device<1> device;
};

/// Waiters for a lock and for pins share a bit of the word, and nobody sleeps through.
struct LockAndPins : Model<LockAndPins, 3> {
  void setup() { device.populate(); }

  void thread(unsigned index) {
    Word& word = device.word[0];
    if (index == 0) {
      const bool both = word.try_pin_present() && word.try_pin_present();
      MODEL_CHECK(both);
      word.unpin();
      word.unpin();
    } else if (index == 1) {
      word.lock();
      word.unlock();
    } else {
      word.wait_unpinned();
      word.lock();
      word.unlock();
    }
  }

  void after() { device.at_rest(); }

  Device<1> device;
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("removal", Removal<2, 2>),
    MODEL_SMALL_SCENARIO("removal_one", Removal<1, 1>),
    MODEL_SCENARIO("move", Move<2>),
    MODEL_SCENARIO("parallel_ranges", ParallelRanges),
    MODEL_SCENARIO("non_blockable", NonBlockable),
    MODEL_SCENARIO("lock_and_pins", LockAndPins),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
