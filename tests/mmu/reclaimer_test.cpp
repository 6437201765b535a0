#include "mmu/reclaimer.hpp"

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

} // namespace
} // namespace slat::mmu
