#include "mmu/interval_subscription.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::stays;

constexpr NotifierRange inside{0x4000, 0x5000, InvalidateEvent::zap};
constexpr NotifierRange outside{0x8000, 0x9000, InvalidateEvent::zap};

struct IntervalTest : ::testing::Test {
  Counters counters;
  NotifierChain chain{counters};
  std::atomic<int> invalidated{0};
  bool accept = true;
  IntervalSubscription subscription{chain, 0x2000, 0x8000, [this](const NotifierRange&) {
                                      ++invalidated;
                                      return accept;
                                    }};

  void SetUp() override { ASSERT_TRUE(subscription.insert()); }

  void TearDown() override { subscription.remove(); }
};

TEST_F(IntervalTest, quiet_interval_needs_no_retry) {
  const std::uint64_t seq = subscription.read_begin();
  EXPECT_FALSE(subscription.read_retry(seq));
  {
    auto scope = chain.invalidate_range_start(outside);
  }
  EXPECT_EQ(invalidated.load(), 0) << "a range that only touches the end is no overlap";
  EXPECT_FALSE(subscription.read_retry(seq));
}

TEST_F(IntervalTest, range_in_between_makes_the_reader_retry) {
  const std::uint64_t seq = subscription.read_begin();
  {
    auto scope = chain.invalidate_range_start(inside);
    EXPECT_EQ(invalidated.load(), 1);
    EXPECT_TRUE(subscription.read_retry(seq)) << "in progress";
  }
  EXPECT_TRUE(subscription.read_retry(seq)) << "over, but what was looked up is gone";
  EXPECT_FALSE(subscription.read_retry(subscription.read_begin()));
}

TEST_F(IntervalTest, read_begin_sleeps_while_the_interval_is_being_invalidated) {
  auto scope = chain.invalidate_range_start(inside);
  std::atomic<bool> begun{false};
  std::thread reader([&] {
    const std::uint64_t seq = subscription.read_begin();
    begun = true;
    EXPECT_FALSE(subscription.read_retry(seq));
  });
  EXPECT_TRUE(stays([&] { return !begun.load(); }));
  scope->end();
  reader.join();
}

TEST_F(IntervalTest, I18_refused_range_leaves_the_interval_usable) {
  accept = false;
  const std::uint64_t seq = subscription.read_begin();
  EXPECT_FALSE(chain.invalidate_range_start({0x4000, 0x5000, InvalidateEvent::reclaim, false}));
  EXPECT_TRUE(subscription.read_retry(seq));
  accept = true;
  EXPECT_FALSE(subscription.read_retry(subscription.read_begin())); // hangs without its end
}

TEST_F(IntervalTest, I20_user_never_uses_a_page_after_its_invalidation) {
  // The pattern of the header's comment, with a plain page that is poisoned inside each range.
  int page = 0; // what the user looked up is the value; the range changes it
  std::atomic<bool> stop{false};
  std::atomic<int> used{0};
  std::mutex user_lock;
  const int* mapped = nullptr; // guarded by user_lock: the user's mapping
  IntervalSubscription user(chain, 0x2000, 0x8000, [&](const NotifierRange&) {
    const std::lock_guard guard(user_lock);
    mapped = nullptr;
    return true;
  });
  ASSERT_TRUE(user.insert());
  std::thread reader([&] {
    while (!stop) {
      const std::uint64_t seq = user.read_begin();
      const int* const found = &page;
      const std::lock_guard guard(user_lock);
      if (user.read_retry(seq)) continue;
      mapped = found;
      EXPECT_EQ(*mapped % 2, 0) << "used in the middle of an invalidation";
      ++used;
    }
  });
  ASSERT_TRUE(eventually([&] { return used.load() > 0; }));
  for (int i = 0; i < 500; ++i) {
    auto scope = chain.invalidate_range_start(inside);
    ++page;
    ++page;
  }
  stop = true;
  reader.join();
  user.remove();
}

} // namespace
} // namespace slat::mmu
