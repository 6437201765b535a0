#include "mmu/page_word.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::checked_build;
using testing::eventually;
using testing::raw;
using testing::stays;

constexpr std::uint64_t slot_77 = std::uint64_t(77) << PageBits::slot_shift;

TEST(PageWord, is_born_empty_and_unowned) {
  const PageWord word;
  EXPECT_EQ(word.read().raw(), 0u);
  EXPECT_EQ(word.read().state(), PageState::none);
  EXPECT_FALSE(word.read().owned());
}

TEST(PageWord, fill_goes_from_none_over_filling_to_present) {
  PageWord word;
  PageState was{};
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  EXPECT_EQ(was, PageState::none);
  EXPECT_EQ(word.read().state(), PageState::filling);
  EXPECT_TRUE(word.read().owned());
  EXPECT_EQ(word.claim_fill(was), FillClaim::busy);
  word.finish_fill(PageState::present);
  EXPECT_EQ(word.claim_fill(was), FillClaim::present);
  EXPECT_EQ(word.read().raw(), std::uint64_t(PageState::present));
}

TEST(PageWord, failed_fill_poisons_for_good) {
  PageWord word;
  PageState was{};
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  word.finish_fill(PageState::poisoned);
  EXPECT_EQ(word.claim_fill(was), FillClaim::poisoned);
  EXPECT_FALSE(word.try_lock_present());
}

TEST(PageWord, fill_called_off_leaves_the_page_as_it_was) {
  PageWord word;
  PageState was{};
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  word.finish_fill(was);
  EXPECT_EQ(word.read().raw(), 0u);
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  word.finish_fill(PageState::present);

  raw<std::uint64_t>(word).store(slot_77 | std::uint64_t(PageState::reclaimed));
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  EXPECT_EQ(was, PageState::reclaimed);
  EXPECT_EQ(word.read().slot(), 77u) << "the source needs the slot to read the page back";
  word.finish_fill(was);
  EXPECT_EQ(word.read().state(), PageState::reclaimed);
  EXPECT_EQ(word.read().slot(), 77u);
}

TEST(PageWord, present_page_forgets_the_slot_it_came_from) {
  PageWord word;
  PageState was{};
  raw<std::uint64_t>(word).store(slot_77 | std::uint64_t(PageState::reclaimed));
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  word.finish_fill(PageState::present);
  EXPECT_EQ(word.read().raw(), std::uint64_t(PageState::present));
}

TEST(PageWord, lock_is_had_in_every_unowned_state_and_keeps_it) {
  for (const PageState state :
       {PageState::none, PageState::present, PageState::reclaimed, PageState::poisoned}) {
    PageWord word;
    const std::uint64_t before = slot_77 | PageBits::dirty | std::uint64_t(state);
    raw<std::uint64_t>(word).store(before);
    word.lock();
    EXPECT_EQ(word.read().raw(), before | PageBits::locked);
    PageState was{};
    EXPECT_EQ(word.claim_fill(was), FillClaim::busy);
    word.unlock();
    EXPECT_EQ(word.read().raw(), before);
  }
}

TEST(PageWord, try_lock_wants_a_present_and_unowned_page) {
  for (const PageState state :
       {PageState::none, PageState::filling, PageState::reclaimed, PageState::poisoned}) {
    PageWord word;
    raw<std::uint64_t>(word).store(std::uint64_t(state));
    EXPECT_FALSE(word.try_lock_present()) << int(state);
    EXPECT_EQ(word.read().raw(), std::uint64_t(state));
  }
  PageWord word;
  raw<std::uint64_t>(word).store(std::uint64_t(PageState::present));
  EXPECT_TRUE(word.try_lock_present());
  EXPECT_FALSE(word.try_lock_present());
  word.unlock();
}

TEST(PageWord, unlock_sets_and_clears_flags) {
  PageWord word;
  raw<std::uint64_t>(word).store(std::uint64_t(PageState::present) | PageBits::installed |
                                 PageBits::dirty);
  word.lock();
  word.unlock(PageBits::accessed, PageBits::installed);
  EXPECT_EQ(word.read().raw(),
            std::uint64_t(PageState::present) | PageBits::accessed | PageBits::dirty);
}

TEST(PageWord, unlock_empty_leaves_nothing_behind) {
  PageWord word;
  raw<std::uint64_t>(word).store(slot_77 | PageBits::flags | std::uint64_t(PageState::present));
  word.lock();
  word.unlock_empty();
  EXPECT_EQ(word.read().raw(), 0u);
}

TEST(PageWord, unlock_reclaimed_leaves_the_slot_the_pins_and_write_tracked_alone) {
  for (const std::uint32_t slot : {0u, 77u, 0xffffffffu}) {
    PageWord word;
    raw<std::uint64_t>(word).store(PageBits::flags | 3 * PageBits::one_pin |
                                   std::uint64_t(PageState::present));
    ASSERT_TRUE(word.try_lock_present());
    word.unlock_reclaimed(slot);
    EXPECT_EQ(word.read().raw(), std::uint64_t(slot) << PageBits::slot_shift |
                                     3 * PageBits::one_pin | PageBits::write_tracked |
                                     std::uint64_t(PageState::reclaimed))
        << "of the flags only what says something of the content stays";
    EXPECT_EQ(word.read().slot(), slot);
    EXPECT_FALSE(word.try_lock_present());
    EXPECT_FALSE(word.try_pin_present());
  }
}

TEST(PageWord, unlock_reclaimed_wakes_who_sleeps) {
  PageWord word;
  raw<std::uint64_t>(word).store(std::uint64_t(PageState::present));
  ASSERT_TRUE(word.try_lock_present());
  std::thread sleeper([&] { word.wait_unowned(); });
  EXPECT_TRUE(eventually([&] { return word.read().has(PageBits::waiters); }));
  word.unlock_reclaimed(5);
  sleeper.join();
  EXPECT_EQ(word.read().raw(),
            std::uint64_t(5) << PageBits::slot_shift | std::uint64_t(PageState::reclaimed));
}

TEST(PageWord, flags_are_set_at_any_time_without_touching_the_owner) {
  PageWord word;
  raw<std::uint64_t>(word).store(std::uint64_t(PageState::present));
  word.lock();
  word.set_flags(PageBits::accessed | PageBits::dirty);
  EXPECT_TRUE(word.read().has(PageBits::locked));
  word.unlock();
  EXPECT_TRUE(word.read().has(PageBits::accessed | PageBits::dirty));
  EXPECT_FALSE(word.read().owned());
}

TEST(PageWord, flags_are_cleared_in_one_step_only_where_nobody_owns_the_page) {
  PageWord word;
  PageState was{};
  EXPECT_TRUE(word.clear_if_unowned(PageBits::installed)) << "nothing to clear is fine";
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  EXPECT_FALSE(word.clear_if_unowned(PageBits::installed)) << "somebody fills it";
  word.finish_fill(PageState::present);
  word.lock();
  word.set_flags(PageBits::installed | PageBits::dirty);
  EXPECT_FALSE(word.clear_if_unowned(PageBits::installed)) << "somebody has it locked";
  EXPECT_TRUE(word.read().has(PageBits::installed | PageBits::locked));
  word.unlock();
  EXPECT_TRUE(word.clear_if_unowned(PageBits::installed));
  EXPECT_EQ(word.read().raw(), std::uint64_t(PageState::present) | PageBits::dirty);
}

TEST(PageWord, I40_exactly_one_of_many_threads_gets_to_fill) {
  constexpr int threads = 4;
  constexpr int rounds = 500;
  std::vector<PageWord> words(rounds);
  std::atomic<int> claimed{0};
  int content = 0; // plain: the claim and the finish must order it
  std::vector<std::thread> fillers;
  for (int t = 0; t < threads; ++t)
    fillers.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) {
        PageWord& word = words[std::size_t(round)];
        for (;;) {
          PageState was{};
          const FillClaim claim = word.claim_fill(was);
          if (claim == FillClaim::claimed) {
            ++claimed;
            content = round;
            word.finish_fill(PageState::present);
          }
          if (claim == FillClaim::present) break;
          word.wait_unowned();
        }
      }
    });
  for (std::thread& filler : fillers) filler.join();
  EXPECT_EQ(claimed.load(), rounds);
  for (const PageWord& word : words)
    EXPECT_EQ(word.read().raw(), std::uint64_t(PageState::present));
}

TEST(PageWord, lock_excludes_and_orders) {
  PageWord word;
  constexpr int rounds = 5000;
  int inside = 0; // plain: only the lock orders it
  std::uint64_t sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        word.lock();
        EXPECT_EQ(++inside, 1);
        ++sum;
        --inside;
        word.unlock();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 4u * rounds);
  EXPECT_EQ(word.read().raw(), 0u) << "no waiter bit is left behind";
}

TEST(PageWord, locker_sleeps_until_the_fill_is_finished) {
  PageWord word;
  PageState was{};
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  std::atomic<bool> locked{false};
  int content = 0; // plain: what the filler wrote happens before the lock
  std::thread locker([&] {
    word.lock();
    EXPECT_EQ(content, 42);
    locked = true;
    word.unlock();
  });
  EXPECT_TRUE(eventually([&] { return word.read().has(PageBits::waiters); }));
  EXPECT_TRUE(stays([&] { return !locked.load(); }));
  word.set_flags(PageBits::accessed); // changes the word under the sleeper; must not lose the wake
  content = 42;
  word.finish_fill(PageState::present);
  locker.join();
  EXPECT_EQ(word.read().raw(), std::uint64_t(PageState::present) | PageBits::accessed);
}

TEST(PageWord, every_sleeper_is_woken_when_the_lock_is_dropped) {
  PageWord word;
  for (int round = 0; round < 200; ++round) {
    word.lock();
    std::vector<std::thread> waiters;
    std::atomic<int> gone{0};
    for (int t = 0; t < 3; ++t)
      waiters.emplace_back([&] {
        word.wait_unowned();
        ++gone;
      });
    if (round % 2 == 0) {
      EXPECT_TRUE(eventually([&] { return word.read().has(PageBits::waiters); }));
      EXPECT_EQ(gone.load(), 0);
    }
    word.unlock();
    for (std::thread& waiter : waiters) waiter.join();
    EXPECT_FALSE(word.read().has(PageBits::waiters));
  }
}

TEST(PageWord, page_locks_are_counted_for_I24_in_checked_builds) {
  if (!checked_build) GTEST_SKIP() << "counted in checked builds only";
  PageWord word;
  word.lock();
  EXPECT_EQ(page_locks_held(), 1);
  word.unlock();
  EXPECT_EQ(page_locks_held(), 0);
  word.lock();
  word.unlock_empty();
  PageState was{};
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  EXPECT_EQ(page_locks_held(), 0) << "a fill may sleep: it is no page lock";
  word.finish_fill(PageState::present);
  ASSERT_TRUE(word.try_lock_present());
  EXPECT_EQ(page_locks_held(), 1);
  word.unlock();
  EXPECT_EQ(page_locks_held(), 0);
}

TEST(PageWordDeathTest, ownership_that_nobody_has_cannot_be_given_up) {
  if (!checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  PageWord word;
  EXPECT_DEATH(word.finish_fill(PageState::present), "nobody fills");
  EXPECT_DEATH(word.unlock(), "not locked");
  EXPECT_DEATH(word.unlock_empty(), "not locked");
}

PageWord& make_present(PageWord& word) {
  PageState was{};
  EXPECT_EQ(word.claim_fill(was), FillClaim::claimed);
  word.finish_fill(PageState::present);
  return word;
}

TEST(PageWordPins, I26_only_what_is_present_is_pinned) {
  PageWord word;
  EXPECT_FALSE(word.try_pin_present());
  PageState was{};
  ASSERT_EQ(word.claim_fill(was), FillClaim::claimed);
  EXPECT_FALSE(word.try_pin_present());
  word.finish_fill(PageState::poisoned);
  EXPECT_FALSE(word.try_pin_present());
  EXPECT_EQ(word.read().pins(), 0u);
}

TEST(PageWordPins, I26_pins_are_counted_beside_everything_else) {
  PageWord word;
  make_present(word).lock();
  ASSERT_TRUE(word.try_pin_present()) << "a lock does not exclude pins";
  ASSERT_TRUE(word.try_pin_present());
  EXPECT_EQ(word.read().pins(), 2u);
  word.unlock_empty(); // a pin that a range has made bad: the count is its owner's
  EXPECT_EQ(word.read().pins(), 2u);
  EXPECT_FALSE(word.try_pin_present());
  make_present(word);
  word.unpin(PageBits::dirty);
  EXPECT_EQ(word.read().pins(), 1u);
  EXPECT_TRUE(word.read().has(PageBits::dirty));
  word.unpin();
  EXPECT_EQ(word.read().raw(), std::uint64_t(PageState::present) | PageBits::dirty);
}

TEST(PageWordPins, I26_the_count_does_not_overflow) {
  PageWord word;
  make_present(word);
  testing::raw<std::uint64_t>(word) |= PageBits::pin_mask - PageBits::one_pin;
  EXPECT_TRUE(word.try_pin_present());
  EXPECT_FALSE(word.try_pin_present());
  EXPECT_EQ(word.read().pins(), 0xfffffu);
  EXPECT_EQ(word.read().slot(), 0u);
}

TEST(PageWordPins, I26_waiters_for_pins_and_for_the_lock_are_both_woken) {
  PageWord word;
  make_present(word);
  ASSERT_TRUE(word.try_pin_present());
  word.lock();
  std::atomic<bool> unpinned{false};
  std::atomic<bool> locked{false};
  std::thread first([&] {
    word.wait_unpinned();
    unpinned = true;
  });
  std::thread second([&] {
    word.lock();
    locked = true;
    word.unlock();
  });
  EXPECT_TRUE(testing::eventually([&] { return word.read().has(PageBits::waiters); }));
  word.unlock();
  EXPECT_TRUE(testing::eventually([&] { return locked.load(); }));
  EXPECT_TRUE(testing::stays([&] { return !unpinned.load(); }));
  word.unpin();
  first.join();
  second.join();
  EXPECT_EQ(word.read().raw(), std::uint64_t(PageState::present));
}

} // namespace
} // namespace slat::mmu
