// InvalidateSeq with the page lock as FROZEN, the form for installs that are system calls: no
// secondary mapping of a page survives the page's being freed, and waiters are woken.
#include "mmu/invalidate_seq.hpp"
#include "mmu/page_word.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

template <unsigned Slots> using SeqOf = mmu::InvalidateSeqOf<RelacyAtomics, ModelMutex, Slots>;
using mmu::PageBits;
using mmu::PageState;
using mmu::Staleness;

constexpr int nothing = 0;

/// Guest memory of two pages. `current` says which host page backs each now; it is read without any
/// order, for the protocol must not need one. `mapped` is the secondary MMU. Of the ranges in progress
/// `Slots` are told apart, the others share a hull.
template <unsigned Slots> struct Memory {
  explicit Memory(std::uint64_t first_seq) : seq(first_seq) {}

  struct Page {
    mmu::PageWordOf<RelacyAtomics> word;
    RelacyAtomics::atomic<int> current{nothing};
    RelacyAtomics::atomic<int> mapped{nothing};
  };

  void populate() {
    for (int i = 0; i < 2; ++i) {
      PageState was{};
      MODEL_CHECK(page[i].word.claim_fill(was) == mmu::FillClaim::claimed);
      page[i].word.finish_fill(PageState::present);
      page[i].current.store(next_host_page++, std::memory_order_relaxed);
    }
  }

  /// A guest that looks at any moment never reaches a freed page.
  void invariant() {
    for (Page& p : page) {
      const int host_page = p.mapped.load(std::memory_order_relaxed);
      MODEL_CHECK(host_page == nothing || !freed[host_page]);
    }
  }

  /// As Attempt::run() and install(). True once the page is mapped.
  bool fault(unsigned index) {
    Page& p = page[index];
    const std::uint64_t snapshot = seq.snapshot();
    const int host_page = p.current.load(std::memory_order_relaxed);
    if (!p.word.try_lock_present()) {
      p.word.wait_unowned();
      return false;
    }
    RelacyAtomics::fence();
    const Staleness staleness = seq.stale(snapshot, index, index + 1);
    const bool fresh = staleness == Staleness::fresh;
    if (fresh) p.mapped.store(host_page, std::memory_order_relaxed); // the system call
    p.word.unlock(fresh ? PageBits::installed : 0);
    if (staleness == Staleness::in_progress) seq.wait(index, index + 1);
    return fresh;
  }

  /// Replaces the host pages behind [first, first + count) and frees the old ones.
  void invalidate(unsigned first, unsigned count) {
    seq.begin(first, first + count);
    zap(first, count);
    seq.end(first, first + count);
  }

  void zap(unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; ++i) wait_for_owner(page[i].word);
    for (unsigned i = first; i < first + count; ++i) {
      Page& p = page[i];
      const int host_page = next_host_page++;
      const int old = p.current.exchange(host_page, std::memory_order_relaxed);
      p.mapped.exchange(nothing, std::memory_order_relaxed);
      freed[old] = true;
    }
  }

  /// As AddressSpace::wait_for_page_owners().
  static void wait_for_owner(mmu::PageWordOf<RelacyAtomics>& word) {
    const PageBits bits = word.read();
    if (!bits.has(PageBits::locked) && !bits.has(PageBits::installed)) return;
    word.lock();
    word.unlock(0, PageBits::installed);
  }

  void at_rest() const { MODEL_CHECK(seq.count() == 0); }

  SeqOf<Slots> seq;
  Page page[2];
  int next_host_page = 1; // these two are the model's own notes, not shared memory
  bool freed[16] = {};
};

/// Faults on page 0 against one thread that invalidates it again and again.
template <int Faults, int Rounds, std::uint64_t FirstSeq>
struct OneInvalidator : Model<OneInvalidator<Faults, Rounds, FirstSeq>, Faults + 1> {
  void setup() { memory.populate(); }

  void invariant() { memory.invariant(); }

  void thread(unsigned index) {
    for (int i = 0; i < Rounds; ++i)
      if (index == 0)
        memory.invalidate(0, 1);
      else
        (void)memory.fault(0);
  }

  void after() { memory.at_rest(); }

  Memory<1> memory{FirstSeq};
};

/// Two ranges over the same page in progress at once, one of them wider: each in a slot, or one in the
/// hull.
template <unsigned Slots> struct ParallelRanges : Model<ParallelRanges<Slots>, 3> {
  void setup() { memory.populate(); }

  void invariant() { memory.invariant(); }

  void thread(unsigned index) {
    if (index == 2) {
      (void)memory.fault(0);
      (void)memory.fault(0);
    } else {
      memory.invalidate(0, index + 1);
    }
  }

  void after() { memory.at_rest(); }

  Memory<Slots> memory{0};
};

/// Two ranges that are equal, one in the slot and one in the hull: whichever ends first frees the slot.
struct EqualRanges : Model<EqualRanges, 3> {
  void setup() { memory.populate(); }

  void invariant() { memory.invariant(); }

  void thread(unsigned index) {
    for (int i = 0; i < 2; ++i)
      if (index == 2)
        (void)memory.fault(0);
      else
        memory.invalidate(0, 1);
  }

  void after() {
    memory.at_rest();
    MODEL_CHECK(!memory.seq.in_progress(0, 2));
  }

  Memory<1> memory{0};
};

/// Ranges that come and go in the same slots, or in the hull that is widened, kept while any of them
/// lasts, and forgotten afterwards. In the latter case the only slot is taken.
template <bool InHull> struct ReusedSlots : Model<ReusedSlots<InHull>, 3> {
  void setup() {
    memory.populate();
    if (InHull) memory.seq.begin(1000, 1001);
  }

  void invariant() { memory.invariant(); }

  void thread(unsigned index) {
    if (index == 0) {
      memory.seq.begin(100, 200); // elsewhere: nothing of it may stay
      memory.seq.end(100, 200);
      memory.invalidate(0, 1);
    } else if (index == 1) {
      memory.invalidate(1, 1);
    } else {
      (void)memory.fault(0);
      (void)memory.fault(1);
    }
  }

  void after() {
    memory.seq.begin(0, 1); // and is not in what comes next
    MODEL_CHECK(memory.seq.in_progress(0, 1) && !memory.seq.in_progress(1, 200));
    memory.seq.end(0, 1);
    if (InHull) memory.seq.end(1000, 1001);
    memory.at_rest();
  }

  Memory<InHull ? 1 : 2> memory{0};
};

/// A range inside another of the same thread: it is over only when both are.
struct NestedRanges : Model<NestedRanges, 2> {
  void setup() { memory.populate(); }

  void invariant() { memory.invariant(); }

  void thread(unsigned index) {
    if (index == 1) {
      while (!memory.fault(0)) {
      }
      return;
    }
    memory.seq.begin(0, 1);
    memory.seq.begin(1, 2);
    memory.seq.end(1, 2);
    memory.zap(0, 1);
    memory.seq.end(0, 1);
  }

  void after() { memory.at_rest(); }

  Memory<1> memory{0};
};

/// wait() ends as soon as, and not before, the range it began to wait for is over. A waiter that
/// nobody wakes is a deadlock.
template <int Waiters, int Ranges>
struct WaitWakes : Model<WaitWakes<Waiters, Ranges>, Waiters + 1> {
  void thread(unsigned index) {
    if (index != 0) return seq.wait(0, 1);
    for (int i = 0; i < Ranges; ++i) {
      seq.begin(0, 1);
      seq.end(0, 1);
    }
  }

  SeqOf<1> seq{0};
};

constexpr std::uint64_t before_wrap = ~std::uint64_t(0);

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("one_invalidator", OneInvalidator<2, 2, before_wrap>),
    MODEL_SMALL_SCENARIO("one_fault", OneInvalidator<1, 1, 0>),
    MODEL_SCENARIO("parallel_ranges", ParallelRanges<2>),
    MODEL_SCENARIO("parallel_ranges_hull", ParallelRanges<1>),
    MODEL_SCENARIO("equal_ranges", EqualRanges),
    MODEL_SCENARIO("reused_slots", ReusedSlots<false>),
    MODEL_SCENARIO("hull", ReusedSlots<true>),
    MODEL_SCENARIO("nested_ranges", NestedRanges),
    MODEL_SCENARIO("wait_wakes", WaitWakes<2, 2>),
    MODEL_SMALL_SCENARIO("wait_wakes_one", WaitWakes<1, 1>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
