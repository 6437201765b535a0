// PageWord: lock and claim exclude each other, every waiter is woken, and a page is filled once for
// each time it was emptied.
#include "mmu/page_word.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

using mmu::FillClaim;
using mmu::PageBits;
using mmu::PageState;

/// The page and what it guards.
struct ModelPage {
  mmu::PageWordOf<RelacyAtomics> word;
  RelacyAtomics::var<int> filled; // since it was last emptied
  RelacyAtomics::var<int> content;

  void fill(PageState to) {
    MODEL_CHECK(filled.get() == 0);
    if (to == PageState::present) {
      filled.set(1);
      content.set(1);
    }
    word.finish_fill(to);
  }

  void at_rest() const { MODEL_CHECK(!word.read().owned() && !word.read().has(PageBits::waiters)); }
};

/// Everybody locks, changes what the lock guards, unlocks; one also waits first.
template <int Threads> struct LockExcludes : Model<LockExcludes<Threads>, Threads> {
  void thread(unsigned index) {
    if (index == 0) page.word.wait_unowned();
    for (int i = 0; i < 2; ++i) {
      page.word.lock();
      page.content.set(page.content.get() + 1);
      page.word.unlock();
    }
  }

  void after() {
    page.at_rest();
    MODEL_CHECK(page.content.get() == 2 * Threads);
  }

  ModelPage page;
};

/// Faults only: whoever is told "present" may read what the filler wrote.
template <int Threads> struct FillOnce : Model<FillOnce<Threads>, Threads> {
  void thread(unsigned index) {
    bool calls_off = index == 0; // its first claim fails for want of memory, say
    for (;;) {
      PageState was{};
      switch (page.word.claim_fill(was)) {
      case FillClaim::claimed:
        MODEL_CHECK(was == PageState::none);
        page.fill(calls_off ? was : PageState::present);
        if (!calls_off) return;
        calls_off = false;
        break;
      case FillClaim::present:
        MODEL_CHECK(page.content.get() == 1);
        return;
      case FillClaim::busy:
        page.word.wait_unowned();
        break;
      case FillClaim::poisoned:
        MODEL_FAIL("nobody poisons this page");
      }
    }
  }

  void after() {
    page.at_rest();
    MODEL_CHECK(page.filled.get() == 1);
  }

  ModelPage page;
};

/// Faults that fill and lock the page for an install, an invalidator that empties it, and a flag set
/// from outside.
template <int Faults> struct FillAndEmpty : Model<FillAndEmpty<Faults>, Faults + 1> {
  void thread(unsigned index) {
    if (index == Faults) return empty();
    for (int i = 0; i < 2; ++i) fault();
    page.word.set_flags(PageBits::dirty);
  }

  void after() { page.at_rest(); }

  void fault() {
    PageState was{};
    const FillClaim claim = page.word.claim_fill(was);
    if (claim == FillClaim::busy) return page.word.wait_unowned();
    if (claim == FillClaim::claimed) page.fill(PageState::present);
    if (!page.word.try_lock_present()) return;
    MODEL_CHECK(page.filled.get() == 1 && page.content.get() == 1);
    page.word.unlock(PageBits::accessed);
  }

  void empty() {
    for (int i = 0; i < 2; ++i) {
      page.word.lock();
      if (page.word.read().state() == PageState::present) {
        page.filled.set(0);
        page.content.set(0);
        page.word.unlock_empty();
      } else {
        page.word.unlock();
      }
    }
  }

  ModelPage page;
};

/// Flags set from outside while the lock changes hands are not lost, and neither is the slot.
struct FlagsSurvive : Model<FlagsSurvive, 3> {
  void setup() {
    PageState was{};
    MODEL_CHECK(page.word.claim_fill(was) == FillClaim::claimed);
    page.fill(PageState::present);
  }

  void thread(unsigned index) {
    if (index == 0) return page.word.set_flags(PageBits::dirty);
    page.word.lock();
    page.word.unlock(index == 1 ? PageBits::accessed : PageBits::installed);
  }

  void after() {
    page.at_rest();
    MODEL_CHECK(page.word.read().has(PageBits::dirty | PageBits::accessed | PageBits::installed));
    MODEL_CHECK(page.word.read().state() == PageState::present);
  }

  ModelPage page;
};

/// Faults that write, and bring back what a reclaim puts into slots. The content is somewhere at every
/// moment, and only its owner is at it.
template <int Faults> struct ReclaimKeeps : Model<ReclaimKeeps<Faults>, Faults + 1> {
  void setup() {
    PageState was{};
    MODEL_CHECK(page.word.claim_fill(was) == FillClaim::claimed);
    page.fill(PageState::present);
    written.set(1);
  }

  void thread(unsigned index) {
    if (index == Faults) return reclaim();
    for (int i = 0; i < 2; ++i) fault();
    page.word.set_flags(PageBits::accessed);
  }

  void after() {
    page.at_rest();
    const PageBits bits = page.word.read();
    const bool present = bits.state() == PageState::present;
    MODEL_CHECK(present || bits.state() == PageState::reclaimed);
    MODEL_CHECK((present ? page.content.get() : slots[bits.slot()].get()) == written.get());
  }

  void fault() {
    PageState was{};
    const FillClaim claim = page.word.claim_fill(was);
    if (claim == FillClaim::busy) return page.word.wait_unowned();
    if (claim == FillClaim::claimed) {
      MODEL_CHECK(was == PageState::reclaimed);
      const std::uint32_t slot = page.word.read().slot();
      page.content.set(slots[slot].get());
      page.word.finish_fill(PageState::present);
      slots[slot].set(-1); // dropped, and soon somebody else's
    }
    if (!page.word.try_lock_present()) return;
    MODEL_CHECK(page.content.get() == written.get());
    page.content.set(page.content.get() + 1);
    written.set(page.content.get());
    page.word.unlock(PageBits::dirty);
  }

  void reclaim() {
    for (std::uint32_t slot = 1; slot <= 2; ++slot) {
      if (!page.word.try_lock_present()) continue;
      slots[slot].set(page.content.get());
      page.content.set(0); // the punch
      page.word.unlock_reclaimed(slot);
    }
  }

  ModelPage page;
  RelacyAtomics::var<int> written;
  RelacyAtomics::var<int> slots[3];
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("lock_excludes", LockExcludes<3>),
    MODEL_SMALL_SCENARIO("lock_excludes_two", LockExcludes<2>),
    MODEL_SCENARIO("fill_once", FillOnce<3>),
    MODEL_SMALL_SCENARIO("fill_once_two", FillOnce<2>),
    MODEL_SCENARIO("fill_and_empty", FillAndEmpty<2>),
    MODEL_SCENARIO("flags_survive", FlagsSurvive),
    MODEL_SCENARIO("reclaim_keeps", ReclaimKeeps<2>),
    MODEL_SMALL_SCENARIO("reclaim_keeps_one", ReclaimKeeps<1>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
