// What a subscriber is told, and when. notifier_race_test.cpp has registration against ranges.
#include "mmu/notifier.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::FakeNotifier;

constexpr NotifierRange one_page{0x1000, 0x2000, InvalidateEvent::zap};
constexpr NotifierRange one_page_now{0x1000, 0x2000, InvalidateEvent::reclaim, false};

struct NotifierTest : ::testing::Test {
  Counters counters;
  NotifierChain chain{counters};
  FakeNotifier first, second, third;

  void SetUp() override {
    for (FakeNotifier* notifier : {&first, &second, &third})
      ASSERT_TRUE(chain.register_notifier(*notifier));
  }
};

TEST_F(NotifierTest, subscribers_are_told_start_and_end_with_the_range) {
  first.on_start = [&](const NotifierRange& range) {
    EXPECT_EQ(range.start, one_page.start);
    EXPECT_EQ(range.end, one_page.end);
    EXPECT_EQ(range.event, InvalidateEvent::zap);
    EXPECT_TRUE(range.blockable);
    EXPECT_EQ(chain.sequence().count(), 1u) << "counted before the first callback (I22)";
    return true;
  };
  first.on_end = [&](const NotifierRange&) {
    EXPECT_EQ(chain.sequence().count(), 1u) << "counted until after the last callback (I22)";
  };
  {
    auto scope = chain.invalidate_range_start(one_page);
    ASSERT_TRUE(scope);
    EXPECT_EQ(first.starts.load(), 1);
    EXPECT_EQ(first.ends.load(), 0);
    EXPECT_TRUE(chain.sequence().in_progress(0x1000, 0x2000));
  }
  EXPECT_EQ(first.ends.load(), 1) << "the scope's destructor ends the range";
  EXPECT_EQ(chain.sequence().count(), 0u);
  EXPECT_EQ(counters.sum(Counter::invalidate_count), 1u);
  EXPECT_EQ(counters.sum(Counter::invalidated_pages), 1u);
}

TEST_F(NotifierTest, range_without_subscribers_still_counts_for_faults) {
  NotifierChain empty(counters);
  const std::uint64_t before = empty.sequence().snapshot();
  auto scope = empty.invalidate_range_start(one_page);
  ASSERT_TRUE(scope);
  EXPECT_EQ(empty.sequence().count(), 1u);
  scope->end();
  EXPECT_EQ(empty.sequence().count(), 0u);
  EXPECT_NE(empty.sequence().snapshot(), before);
}

TEST_F(NotifierTest, I18_range_ends_once_however_it_ends) {
  auto scope = chain.invalidate_range_start(one_page);
  ASSERT_TRUE(scope);
  NotifierChain::Scope moved(std::move(*scope));
  scope->end(); // nothing is left in it
  EXPECT_EQ(first.ends.load(), 0);
  moved.end();
  moved.end();
  EXPECT_EQ(first.ends.load(), 1);
  EXPECT_EQ(chain.sequence().count(), 0u);
}

TEST_F(NotifierTest, I18_refusal_ends_exactly_those_that_had_started) {
  second.on_start = [](const NotifierRange& range) { return range.blockable; };
  const std::uint64_t before = chain.sequence().snapshot();
  const auto scope = chain.invalidate_range_start(one_page_now);
  ASSERT_FALSE(scope);
  EXPECT_EQ(scope.error().code, Errc::would_block);
  EXPECT_EQ(scope.error().os_error, EAGAIN);
  EXPECT_EQ(first.starts.load(), 1);
  EXPECT_EQ(first.ends.load(), 1);
  EXPECT_EQ(second.refusals.load(), 1);
  EXPECT_EQ(second.ends.load(), 0) << "a start that failed has no end";
  EXPECT_EQ(third.starts.load(), 0);
  EXPECT_EQ(third.ends.load(), 0) << "never started";
  EXPECT_EQ(chain.sequence().count(), 0u);
  EXPECT_NE(chain.sequence().snapshot(), before) << "the first had dropped its mappings";
  EXPECT_EQ(chain.srcu().readers(), 0u);
  EXPECT_EQ(counters.sum(Counter::invalidate_refused_count), 1u);
  EXPECT_EQ(counters.sum(Counter::invalidate_count), 0u);
  chain.unregister_notifier(first); // hangs if the section were still open
}

TEST_F(NotifierTest, I18_first_refusal_of_all_tells_nobody_else) {
  first.on_start = [](const NotifierRange&) { return false; };
  EXPECT_FALSE(chain.invalidate_range_start(one_page_now));
  EXPECT_EQ(first.ends.load() + second.starts.load() + second.ends.load(), 0);
  first.on_start = nullptr;
  auto scope = chain.invalidate_range_start(one_page_now);
  ASSERT_TRUE(scope) << "nothing is left of the refused one";
}

TEST_F(NotifierTest, I22_nested_ranges_are_counted) {
  {
    auto outer = chain.invalidate_range_start({0x1000, 0x4000, InvalidateEvent::move});
    ASSERT_TRUE(outer);
    {
      auto inner = chain.invalidate_range_start({0x8000, 0x9000, InvalidateEvent::move});
      ASSERT_TRUE(inner);
      EXPECT_EQ(chain.sequence().count(), 2u);
      EXPECT_TRUE(chain.sequence().in_progress(0x8000, 0x9000));
    }
    EXPECT_EQ(chain.sequence().count(), 1u);
    EXPECT_TRUE(chain.sequence().in_progress(0x1000, 0x2000));
  }
  EXPECT_EQ(chain.sequence().count(), 0u);
  for (const FakeNotifier* notifier : {&first, &second, &third}) {
    EXPECT_EQ(notifier->starts.load(), 2);
    EXPECT_EQ(notifier->balance(), 0);
  }
}

TEST_F(NotifierTest, registering_twice_is_refused) {
  const auto again = chain.register_notifier(first);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::exists);
  {
    auto scope = chain.invalidate_range_start(one_page);
  }
  EXPECT_EQ(first.starts.load(), 1);
}

TEST_F(NotifierTest, unregistered_subscriber_hears_no_more) {
  chain.unregister_notifier(second);
  {
    auto scope = chain.invalidate_range_start(one_page);
  }
  EXPECT_EQ(first.starts.load(), 1);
  EXPECT_EQ(second.starts.load(), 0);
  EXPECT_EQ(third.starts.load(), 1);
  chain.unregister_notifier(second); // not subscribed: harmless
}

TEST_F(NotifierTest, aging_asks_every_subscriber_and_any_of_them_decides) {
  EXPECT_FALSE(chain.clear_flush_young(0x1000, 0x2000));
  EXPECT_FALSE(chain.clear_young(0x1000, 0x2000));
  EXPECT_FALSE(chain.test_young(0x1000, 0x2000));
  first.on_young = [] { return true; };
  EXPECT_TRUE(chain.clear_flush_young(0x1000, 0x2000));
  EXPECT_TRUE(chain.clear_young(0x1000, 0x2000));
  EXPECT_TRUE(chain.test_young(0x1000, 0x2000));
  for (const FakeNotifier* notifier : {&first, &second, &third}) {
    EXPECT_EQ(notifier->flush_youngs.load(), 2) << "each has bits of its own to clear";
    EXPECT_EQ(notifier->clear_youngs.load(), 2);
    EXPECT_EQ(notifier->test_youngs.load(), 2);
  }
}

TEST_F(NotifierTest, release_is_told_once_and_unsubscribes) {
  chain.unregister_notifier(third);
  chain.release();
  chain.release();
  EXPECT_EQ(first.releases.load(), 1);
  EXPECT_EQ(second.releases.load(), 1);
  EXPECT_EQ(third.releases.load(), 0) << "it had left before";
  {
    auto scope = chain.invalidate_range_start(one_page);
  }
  EXPECT_EQ(first.starts.load(), 0);
  EXPECT_TRUE(chain.register_notifier(first)) << "it may come back";
}

TEST_F(NotifierTest, subscriber_without_aging_is_never_young) {
  struct Plain final : Notifier {
    bool invalidate_range_start(const NotifierRange&) override { return true; }

    void invalidate_range_end(const NotifierRange&) override {}
  } plain;

  NotifierChain own(counters);
  ASSERT_TRUE(own.register_notifier(plain));
  EXPECT_FALSE(own.clear_flush_young(0, 0x1000));
  EXPECT_FALSE(own.clear_young(0, 0x1000));
  EXPECT_FALSE(own.test_young(0, 0x1000));
  own.release();
}

using NotifierDeathTest = NotifierTest;

TEST_F(NotifierDeathTest, I24_no_callback_with_a_page_lock_held) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  PageWord word;
  const auto locked = [&](auto call) {
    word.lock();
    call();
  };
  EXPECT_DEATH(locked([&] { (void)chain.invalidate_range_start(one_page); }), "I24");
  EXPECT_DEATH(locked([&] { chain.clear_flush_young(0, 0x1000); }), "I24");
  EXPECT_DEATH(locked([&] { chain.clear_young(0, 0x1000); }), "I24");
  EXPECT_DEATH(locked([&] { chain.test_young(0, 0x1000); }), "I24");
  EXPECT_DEATH(
      {
        auto scope = chain.invalidate_range_start(one_page);
        word.lock();
        scope->end();
      },
      "I24");
}

TEST_F(NotifierDeathTest, blockable_range_cannot_be_refused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  second.on_start = [](const NotifierRange&) { return false; };
  EXPECT_DEATH((void)chain.invalidate_range_start(one_page), "refused a blockable range");
}

TEST_F(NotifierDeathTest, registration_inside_a_range_would_wait_for_itself) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  FakeNotifier late;
  EXPECT_DEATH(
      {
        auto scope = chain.invalidate_range_start(one_page);
        (void)chain.register_notifier(late);
      },
      "inside a range");
  EXPECT_DEATH(
      {
        auto scope = chain.invalidate_range_start(one_page);
        chain.unregister_notifier(first);
      },
      "inside a range");
}

} // namespace
} // namespace slat::mmu
