// Speculative faults: what a commit promises against writers, and a reference against the free.
#include "mmu/page_word.hpp"
#include "mmu/srcu_core.hpp"
#include "mmu/vma_lock/spf.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

using Vma = mmu::SpfVmaOf<RelacyAtomics>;
using PageWord = mmu::PageWordOf<RelacyAtomics>;
using Field = mmu::RelaxedFieldOf<RelacyAtomics, int>;
using mmu::FillClaim;
using mmu::PageState;

/// The VMA dies and its page is given back, while faults that have found it before, or still find
/// it, fill the page. The memory's owner writes `content` without a lock in between.
template <int Faults> struct UnmapAgainstFaults : Model<UnmapAgainstFaults<Faults>, Faults + 1> {
  void setup() { vma.mark_live(1); }

  void thread(unsigned index) {
    if (index != 0) return fault();
    vma.write_begin();
    vma.mark_dead();
    // As AddressSpace::wait_for_page_owners(), and then the zap.
    const mmu::PageBits bits = page.read();
    if (bits.owned() || bits.state() != PageState::none) {
      page.lock();
      page.unlock_empty();
    }
    content.set(0); // given back
    vma.write_end();
  }

  void after() { MODEL_CHECK(page.read().state() == PageState::none && content.get() == 0); }

  void fault() {
    MODEL_CHECK(vma.get_not_zero());
    const auto seq = vma.read_begin();
    if (seq) fault_at(*seq);
    MODEL_CHECK(!vma.put()); // the tree has its own
  }

  void fault_at(std::uint64_t seq) {
    PageState was{};
    if (page.claim_fill(was) != FillClaim::claimed) return;
    const bool mine = vma.commit(seq);
    if (mine) content.set(1);
    page.finish_fill(mine ? PageState::present : was);
  }

  Vma vma;
  PageWord page;
  RelacyAtomics::var<int> content;
};

/// Two fields of a VMA are changed twice, under faults that use both. Their value is half of what
/// the sequence has grown by.
template <int Faults, std::uint64_t FirstSeq>
struct AdjustAgainstFaults : Model<AdjustAgainstFaults<Faults, FirstSeq>, Faults + 1> {
  void setup() { vma.mark_live(1); }

  void thread(unsigned index) {
    if (index != 0) return fault();
    for (int change = 1; change <= 2; ++change) {
      vma.write_begin();
      for (PageWord& page : pages)
        if (page.read().owned()) page.wait_unowned();
      start = change;
      pgoff = change;
      vma.write_end();
    }
  }

  void fault() {
    const auto seq = vma.read_begin();
    if (!seq) return;
    const int from = start;
    const int offset = pgoff;
    PageWord& page = pages[offset % 2];
    PageState was{};
    if (page.claim_fill(was) != FillClaim::claimed) return;
    if (vma.commit(*seq)) {
      MODEL_CHECK(from == offset && std::uint64_t(from) == (*seq - FirstSeq) / 2);
      MODEL_CHECK(from == start && offset == pgoff); // the writer waits for the page
    }
    page.finish_fill(was);
  }

  Vma vma{FirstSeq};
  Field start{0};
  Field pgoff{0};
  PageWord pages[2];
};

/// A VMA moves, and a device uses its page where it is then; reclaims that have told of the old place
/// alone take what they still find there.
template <int Reclaims>
struct MoveAgainstReclaims : Model<MoveAgainstReclaims<Reclaims>, Reclaims + 1> {
  void setup() {
    vma.mark_live(1);
    PageState was{};
    MODEL_CHECK(page.claim_fill(was) == FillClaim::claimed);
    page.finish_fill(PageState::present);
  }

  void thread(unsigned index) {
    if (index != 0) return reclaim(index);
    vma.write_begin();
    if (page.read().owned()) page.wait_unowned();
    place = 1;
    vma.write_end();
    if (!page.try_pin_present()) return;
    content.set(content.get() + 1);
    page.unpin();
  }

  void reclaim(unsigned index) {
    const auto seq = vma.read_begin();
    if (!seq || place != 0 || !page.try_lock_present()) return;
    if (!vma.commit(*seq)) return page.unlock();
    content.set(0); // into the store, and punched
    page.unlock_reclaimed(index);
  }

  void after() { MODEL_CHECK(!page.read().owned()); }

  Vma vma;
  Field place{0};
  PageWord page;
  RelacyAtomics::var<int> content;
};

/// The sequence alone, as mm_seq guards the tree: a reader that need not retry has read one version.
struct ReadersOfASequence : Model<ReadersOfASequence, 3> {
  void thread(unsigned index) {
    if (index != 0) return read();
    for (int change = 1; change <= 2; ++change) {
      seq.write_begin();
      left = change;
      right = change;
      seq.write_end();
    }
  }

  void read() {
    for (int i = 0; i < 2; ++i) {
      const auto snapshot = seq.read_begin();
      if (!snapshot) continue;
      const int a = left;
      const int b = right;
      if (seq.read_retry(*snapshot)) continue;
      MODEL_CHECK(a == b && std::uint64_t(a) == *snapshot / 2);
    }
  }

  mmu::MmSeqOf<RelacyAtomics> seq;
  Field left{0};
  Field right{0};
};

/// The tree's reference is put while others are taken: type-stable memory and no grace period, so
/// the count alone decides.
struct LastReference : Model<LastReference, 3> {
  void setup() {
    body.set(1);
    vma.mark_live(1);
  }

  void thread(unsigned index) {
    if (index == 0) return put();
    for (int i = 0; i < 2; ++i) {
      if (!vma.get_not_zero()) return;
      MODEL_CHECK(body.get() == 1);
      put();
    }
  }

  void after() { MODEL_CHECK(body.get() == 0 && vma.vm_refs() == 0); }

  void put() {
    if (!vma.put()) return;
    MODEL_CHECK(body.get() == 1); // freed once
    body.set(0);
  }

  Vma vma;
  RelacyAtomics::var<int> body;
};

/// The VMA leaves the tree and dies; its backing is closed, and the tree's reference put, after a
/// grace period.
struct BackingAgainstFault : Model<BackingAgainstFault, 2> {
  void setup() {
    backing.set(1);
    body.set(1);
    vma.mark_live(1);
    linked.store(1, std::memory_order_release);
  }

  void thread(unsigned index) {
    if (index == 1) return fault();
    linked.store(0, std::memory_order_release);
    vma.write_begin();
    vma.mark_dead();
    vma.write_end();
    srcu.synchronize();
    backing.set(0);
    put();
  }

  void after() { MODEL_CHECK(backing.get() == 0 && body.get() == 0); }

  void fault() {
    const unsigned idx = srcu.read_lock(0);
    if (linked.load(std::memory_order_acquire) != 0 && vma.get_not_zero()) {
      const auto seq = vma.read_begin();
      MODEL_CHECK(body.get() == 1);
      if (seq && vma.commit(*seq)) MODEL_CHECK(backing.get() == 1); // and fills from it
      put();
    }
    srcu.read_unlock(idx, 0);
  }

  void put() {
    if (vma.put()) body.set(0);
  }

  mmu::SrcuCore<RelacyAtomics, 1> srcu;
  RelacyAtomics::atomic<std::uint32_t> linked{0};
  Vma vma;
  RelacyAtomics::var<int> backing;
  RelacyAtomics::var<int> body;
};

constexpr std::uint64_t below_2_32 = (std::uint64_t(1) << 32) - 2;

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("unmap_against_faults", UnmapAgainstFaults<2>),
    MODEL_SMALL_SCENARIO("unmap_against_one_fault", UnmapAgainstFaults<1>),
    MODEL_SCENARIO("adjust_against_faults", AdjustAgainstFaults<2, below_2_32>),
    MODEL_SCENARIO("move_against_reclaims", MoveAgainstReclaims<2>),
    MODEL_SMALL_SCENARIO("move_against_one_reclaim", MoveAgainstReclaims<1>),
    MODEL_SCENARIO("readers_of_a_sequence", ReadersOfASequence),
    MODEL_SCENARIO("last_reference", LastReference),
    MODEL_SCENARIO("backing_against_fault", BackingAgainstFault),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
