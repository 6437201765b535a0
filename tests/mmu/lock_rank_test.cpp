// The order of locks, and where sleeping is forbidden: asserted in checked builds.
#include "mmu/lock_rank.hpp"

#include "mmu/mm_lock.hpp"
#include "mmu/notifier.hpp"
#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::FakeNotifier;
using testing::Latch;

// What clang would not compile, for the checks at run time.
void lock_unseen(Mutex& mutex) SLAT_NO_ANALYSIS {
  mutex.lock();
}

void unlock_unseen(Mutex& mutex) SLAT_NO_ANALYSIS {
  mutex.unlock();
}

struct LockRankDeathTest : ::testing::Test {
  MmLock mm_lock;
  MmLock other_mm_lock;
  Mutex registration{LockRank::registration};
  Mutex leaf;
  Mutex other_leaf;
  Counters counters;
  NotifierChain chain{counters};

  void SetUp() override {
    if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

TEST_F(LockRankDeathTest, locks_are_taken_down_the_tree_and_dropped_in_any_order) {
  for (int i = 0; i < 100; ++i) { // the books are kept: nothing is left over
    mm_lock.lock_shared();
    registration.lock();
    leaf.lock();
    mm_lock.unlock_shared();
    registration.unlock();
    leaf.unlock();
  }
  const MmReadGuard again(mm_lock);
}

TEST_F(LockRankDeathTest, lock_against_the_tree_is_found_without_a_deadlock) {
  const MutexGuard held(registration);
  EXPECT_DEATH(const MmReadGuard guard(mm_lock), "against their order");
}

TEST_F(LockRankDeathTest, leaves_do_not_nest_nor_do_two_address_spaces) {
  {
    const MutexGuard held(leaf);
    EXPECT_DEATH(const MutexGuard guard(other_leaf), "against their order");
    EXPECT_DEATH(lock_unseen(leaf), "twice on one thread");
  }
  const MmReadGuard held(mm_lock);
  EXPECT_DEATH(const MmReadGuard guard(other_mm_lock), "against their order");
}

// gtest's macros are too much for clang's analysis of a try_lock.
bool try_lock_unseen(Mutex& mutex) SLAT_NO_ANALYSIS {
  return mutex.try_lock();
}

TEST_F(LockRankDeathTest, try_lock_needs_no_order_but_is_on_the_list) {
  const MutexGuard held(leaf);
  ASSERT_TRUE(try_lock_unseen(other_leaf));
  EXPECT_DEATH(const MmReadGuard guard(mm_lock), "against their order");
  unlock_unseen(other_leaf);
  EXPECT_DEATH(unlock_unseen(other_leaf), "does not hold it");
}

TEST_F(LockRankDeathTest, another_thread_s_locks_do_not_matter) {
  Latch held;
  Latch drop;
  std::thread other([&] {
    const MutexGuard guard(leaf);
    held.open();
    drop.wait();
  });
  held.wait();
  {
    const MmReadGuard guard(mm_lock);
  }
  drop.open();
  other.join();
}

TEST_F(LockRankDeathTest, wait_keeps_the_books) {
  std::condition_variable changed;
  MutexGuard guard(leaf);
  EXPECT_FALSE(guard.wait_until(changed, std::chrono::steady_clock::now()));
  EXPECT_DEATH(lock_unseen(leaf), "twice on one thread");
}

TEST_F(LockRankDeathTest, sleeping_in_an_rcu_section_is_found) {
  const rcu::ReadGuard section;
  EXPECT_DEATH(const MmReadGuard guard(mm_lock), "sleeping is forbidden");
  EXPECT_DEATH(rcu::synchronize(), "sleeping is forbidden");
}

TEST_F(LockRankDeathTest, test_young_must_not_sleep_and_the_other_two_may) {
  FakeNotifier notifier;
  notifier.on_young = [&] {
    const MmReadGuard guard(mm_lock);
    return true;
  };
  ASSERT_TRUE(chain.register_notifier(notifier));
  EXPECT_TRUE(chain.clear_young(0x1000, 0x2000));
  EXPECT_TRUE(chain.clear_flush_young(0x1000, 0x2000));
  EXPECT_DEATH((void)chain.test_young(0x1000, 0x2000), "sleeping is forbidden");
  chain.unregister_notifier(notifier);
}

TEST_F(LockRankDeathTest, callbacks_of_a_range_that_is_not_blockable_must_not_sleep) {
  FakeNotifier notifier;
  const auto sleep = [&](const NotifierRange&) {
    const MmReadGuard guard(mm_lock);
    return true;
  };
  notifier.on_start = sleep;
  ASSERT_TRUE(chain.register_notifier(notifier));
  EXPECT_TRUE(chain.invalidate_range_start({0x1000, 0x2000, InvalidateEvent::zap, true}));
  EXPECT_DEATH((void)chain.invalidate_range_start({0x1000, 0x2000, InvalidateEvent::zap, false}),
               "sleeping is forbidden");
  notifier.on_start = nullptr;
  notifier.on_end = [&](const NotifierRange& range) { (void)sleep(range); };
  EXPECT_DEATH((void)chain.invalidate_range_start({0x1000, 0x2000, InvalidateEvent::zap, false}),
               "sleeping is forbidden");
  chain.unregister_notifier(notifier);
}

TEST_F(LockRankDeathTest, registering_inside_a_call_of_the_chain_is_found) {
  FakeNotifier notifier;
  FakeNotifier other;
  notifier.on_young = [&] {
    EXPECT_TRUE(chain.inside_call());
    EXPECT_DEATH((void)chain.register_notifier(other), "inside a range or a callback");
    EXPECT_DEATH(chain.unregister_notifier(notifier), "inside a range or a callback");
    return true;
  };
  ASSERT_TRUE(chain.register_notifier(notifier));
  EXPECT_TRUE(chain.clear_young(0x1000, 0x2000));
  EXPECT_FALSE(chain.inside_call());
  {
    const auto range = chain.invalidate_range_start({0x1000, 0x2000, InvalidateEvent::zap});
    EXPECT_DEATH(chain.unregister_notifier(notifier), "inside a range or a callback");
  }
  chain.unregister_notifier(notifier);
}

} // namespace
} // namespace slat::mmu
