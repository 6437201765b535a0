#include "mmu/reclaimer.hpp"

#include "failing_new.hpp"
#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::Latch;

struct Entry : DeferredCall {
  std::vector<int>* order;
  int number;
};

void note(DeferredCall* head) {
  auto* const entry = static_cast<Entry*>(head);
  entry->order->push_back(entry->number);
}

TEST(Reclaimer, runs_calls_in_order_after_a_grace_period_each) {
  std::atomic<int> grace_periods{0};
  std::vector<int> order;
  std::vector<Entry> entries;
  for (int i = 0; i < 20; ++i) entries.push_back({{}, &order, i});
  Reclaimer reclaimer([&] { ++grace_periods; });
  for (Entry& entry : entries) reclaimer.call(entry, note);
  reclaimer.barrier();
  ASSERT_EQ(order.size(), 20u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_GE(grace_periods.load(), 1);
}

TEST(Reclaimer, call_made_during_a_grace_period_waits_for_the_next_one) {
  std::atomic<int> started{0};
  Latch first_may_end;
  std::vector<int> order;
  Entry early{{}, &order, 1};
  Entry late{{}, &order, 2};
  Reclaimer reclaimer([&] {
    if (++started == 1) first_may_end.wait();
  });
  reclaimer.call(early, note);
  ASSERT_TRUE(eventually([&] { return started.load() == 1; }));
  reclaimer.call(late, note); // the grace period under way has not seen its readers
  first_may_end.open();
  reclaimer.barrier();
  EXPECT_EQ(started.load(), 2);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Reclaimer, callback_may_free_its_head_and_call_again) {
  struct Chain : DeferredCall {
    Reclaimer* reclaimer;
    std::atomic<int>* runs;
    int left;

    static void step(DeferredCall* head) {
      const auto* const old = static_cast<Chain*>(head);
      ++*old->runs;
      if (old->left > 0) {
        auto* const next = new Chain{{}, old->reclaimer, old->runs, old->left - 1};
        next->reclaimer->call(*next, step);
      }
      delete old;
    }
  };

  std::atomic<int> runs{0};
  {
    Reclaimer reclaimer([] {});
    auto* const first = new Chain{{}, &reclaimer, &runs, 5};
    reclaimer.call(*first, Chain::step);
    EXPECT_TRUE(eventually([&] { return runs.load() == 6; }));
  }
  EXPECT_EQ(runs.load(), 6);
}

TEST(Reclaimer, barrier_without_a_call_returns_and_starts_no_thread) {
  Reclaimer reclaimer([] { ADD_FAILURE() << "nothing was called"; });
  reclaimer.barrier();
}

TEST(Reclaimer, destruction_runs_what_is_queued) {
  std::vector<int> order;
  Entry entry{{}, &order, 7};
  {
    Reclaimer reclaimer([] {});
    reclaimer.call(entry, note);
  }
  EXPECT_EQ(order, std::vector<int>{7});
}

/// A reclaimer that has run a first call and gathers for longer than any test runs.
struct Gathering {
  Gathering() {
    reclaimer.call(first, note);
    reclaimer.barrier(); // of an idle thread: at once
    EXPECT_EQ(order.size(), 1u);
  }

  std::vector<int> order;
  std::atomic<int> grace_periods{0};
  Entry first{{}, &order, 0};
  Reclaimer reclaimer{[this] { ++grace_periods; }, std::chrono::hours(1)};
};

TEST(Reclaimer, burst_is_one_batch_and_barrier_does_not_wait_for_more) {
  Gathering world;
  std::vector<Entry> entries;
  for (int i = 1; i <= 100; ++i) entries.push_back({{}, &world.order, i});
  for (Entry& entry : entries) world.reclaimer.call(entry, note);
  EXPECT_TRUE(testing::stays([&] { return world.grace_periods.load() == 1; })) << "it gathers";
  world.reclaimer.barrier(); // hangs for an hour if it does not cut that short
  EXPECT_EQ(world.order.size(), 101u);
  EXPECT_EQ(world.grace_periods.load(), 2);
}

TEST(Reclaimer, long_queue_is_not_left_to_grow) {
  Gathering world;
  std::vector<Entry> entries;
  for (int i = 1; i <= int(Reclaimer::most_gathered); ++i) entries.push_back({{}, &world.order, i});
  for (Entry& entry : entries) world.reclaimer.call(entry, note);
  EXPECT_TRUE(eventually([&] { return world.grace_periods.load() == 2; }));
  world.reclaimer.barrier();
  EXPECT_EQ(world.order.size(), 1 + Reclaimer::most_gathered);
}

TEST(Reclaimer, calls_are_kept_while_there_is_no_thread_for_them) {
  if (!testing::fail_new_works()) GTEST_SKIP() << "operator new is the sanitizer's";
  std::vector<int> order;
  Entry first{{}, &order, 1};
  Entry second{{}, &order, 2};
  Entry third{{}, &order, 3};
  {
    Reclaimer reclaimer([] {});
    testing::fail_new(1);
    reclaimer.call(first, note);
    ASSERT_EQ(testing::fail_new(0), 0u) << "a thread without operator new: the test shows nothing";
    testing::fail_new(1);
    reclaimer.barrier(); // on this thread
    EXPECT_EQ(testing::fail_new(0), 0u);
    EXPECT_EQ(order, std::vector<int>{1});
    testing::fail_new(1);
    reclaimer.call(second, note);
    testing::fail_new(0);
    reclaimer.call(third, note); // starts the thread
    reclaimer.barrier();
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  }
  {
    Reclaimer reclaimer([] {});
    testing::fail_new(1);
    reclaimer.call(first, note);
    testing::fail_new(0);
  }
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 1}));
}

TEST(Reclaimer, after_the_end_of_its_thread_barrier_runs_what_is_called) {
  std::vector<int> order;
  Entry first{{}, &order, 1};
  Entry second{{}, &order, 2};
  Reclaimer reclaimer([] {}, std::chrono::hours(1));
  reclaimer.call(first, note);
  reclaimer.end_thread();
  EXPECT_EQ(order, std::vector<int>{1});
  reclaimer.call(second, note);
  reclaimer.barrier();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  reclaimer.end_thread();
}

TEST(Reclaimer, destruction_does_not_wait_for_more) {
  std::vector<int> order;
  Entry second{{}, &order, 2};
  Entry first{{}, &order, 1};
  {
    Reclaimer reclaimer([] {}, std::chrono::hours(1));
    reclaimer.call(first, note);
    reclaimer.barrier();
    reclaimer.call(second, note);
  }
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Reclaimer, idle_thread_runs_the_next_call_without_a_barrier) {
  std::atomic<int> grace_periods{0};
  std::vector<int> order;
  Entry first{{}, &order, 1};
  Entry second{{}, &order, 2};
  Reclaimer reclaimer([&] { ++grace_periods; }, std::chrono::milliseconds(1));
  for (Entry* entry : {&first, &second}) {
    const int before = grace_periods;
    reclaimer.call(*entry, note);
    EXPECT_TRUE(eventually([&] { return grace_periods.load() == before + 1; }));
    EXPECT_TRUE(testing::stays([&] { return grace_periods.load() == before + 1; })); // goes idle
  }
  reclaimer.barrier();
}

TEST(Reclaimer, barriers_and_calls_of_several_threads) {
  Reclaimer reclaimer([] {}, std::chrono::microseconds(50));
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        std::vector<int> order;
        std::vector<Entry> entries;
        for (int n = 0; n < 5; ++n) entries.push_back({{}, &order, n});
        for (Entry& entry : entries) reclaimer.call(entry, note);
        reclaimer.barrier();
        EXPECT_EQ(order.size(), 5u);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

} // namespace
} // namespace slat::mmu
