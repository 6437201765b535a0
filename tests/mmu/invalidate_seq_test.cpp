#include "mmu/invalidate_seq.hpp"

#include "hooked_atomics.hpp"
#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::stays;

TEST(InvalidateSeq, quiet_sequence_is_fresh) {
  const InvalidateSeq seq;
  EXPECT_EQ(seq.stale(seq.snapshot(), 0, ~std::uint64_t(0)), Staleness::fresh);
  EXPECT_EQ(seq.count(), 0u);
}

TEST(InvalidateSeq, I20_range_in_progress_is_seen_by_what_it_covers) {
  InvalidateSeq seq;
  const std::uint64_t snapshot = seq.snapshot();
  seq.begin(100, 200);
  EXPECT_EQ(seq.stale(snapshot, 150, 151), Staleness::in_progress);
  EXPECT_EQ(seq.stale(snapshot, 0, 101), Staleness::in_progress);
  EXPECT_EQ(seq.stale(snapshot, 199, 300), Staleness::in_progress);
  EXPECT_EQ(seq.stale(snapshot, 0, 100), Staleness::fresh);
  EXPECT_EQ(seq.stale(snapshot, 200, 300), Staleness::fresh);
  seq.end(100, 200);
}

TEST(InvalidateSeq, I20_range_that_has_ended_since_the_snapshot_is_seen_everywhere) {
  InvalidateSeq seq;
  const std::uint64_t snapshot = seq.snapshot();
  seq.begin(100, 200);
  seq.end(100, 200);
  EXPECT_EQ(seq.stale(snapshot, 150, 151), Staleness::moved);
  EXPECT_EQ(seq.stale(snapshot, 900, 901), Staleness::moved) << "one sequence for all";
  EXPECT_EQ(seq.stale(seq.snapshot(), 150, 151), Staleness::fresh);
}

constexpr unsigned slots = 8; // of InvalidateSeq

TEST(InvalidateSeq, I22_parallel_ranges_are_told_apart) {
  InvalidateSeq seq;
  const std::uint64_t snapshot = seq.snapshot();
  for (std::uint64_t i = 0; i < slots; ++i) seq.begin(1000 * i, 1000 * i + 100);
  EXPECT_EQ(seq.count(), slots);
  for (std::uint64_t i = 0; i < slots; ++i) {
    EXPECT_TRUE(seq.in_progress(1000 * i, 1000 * i + 1));
    EXPECT_TRUE(seq.in_progress(1000 * i + 99, 1000 * i + 100));
    EXPECT_FALSE(seq.in_progress(1000 * i + 100, 1000 * i + 1000)) << "it lies between two";
  }
  for (const std::uint64_t i : {3u, 0u, 7u, 1u, 6u, 2u, 5u, 4u}) {
    EXPECT_TRUE(seq.in_progress(1000 * i + 50, 1000 * i + 60));
    seq.end(1000 * i, 1000 * i + 100);
    EXPECT_FALSE(seq.in_progress(1000 * i, 1000 * i + 1000)) << "that one is over, the others not";
  }
  EXPECT_EQ(seq.count(), 0u);
  EXPECT_EQ(seq.stale(snapshot, 0, 1), Staleness::moved);
}

TEST(InvalidateSeq, ranges_that_always_overlap_in_time_do_not_hold_up_what_they_do_not_cover) {
  InvalidateSeq seq;
  seq.begin(0, 10);
  for (std::uint64_t i = 1; i < 100; ++i) { // the count never reaches 0
    seq.begin(10 * i, 10 * i + 10);
    seq.end(10 * i - 10, 10 * i);
    EXPECT_FALSE(seq.in_progress(0, 10 * i)) << i;
    EXPECT_TRUE(seq.in_progress(10 * i, 10 * i + 10)) << i;
    seq.wait(0, 10 * i); // returns at once
  }
  seq.end(990, 1000);
}

TEST(InvalidateSeq, equal_ranges_are_in_progress_until_the_last_ends) {
  InvalidateSeq seq;
  for (unsigned i = 0; i < 2 * slots; ++i) seq.begin(100, 200); // in slots and in the hull
  for (unsigned i = 0; i < 2 * slots; ++i) {
    EXPECT_TRUE(seq.in_progress(100, 101) && seq.in_progress(199, 200)) << i;
    EXPECT_FALSE(seq.in_progress(0, 100) || seq.in_progress(200, 300)) << i;
    seq.end(100, 200);
  }
  EXPECT_FALSE(seq.in_progress(0, 1000));
}

TEST(InvalidateSeq, ranges_with_an_end_in_common_are_told_apart) {
  InvalidateSeq seq;
  seq.begin(0, 200);
  seq.begin(100, 200);
  seq.begin(0, 100);
  seq.end(0, 200);
  seq.end(0, 100);
  EXPECT_FALSE(seq.in_progress(0, 100));
  EXPECT_TRUE(seq.in_progress(150, 160));
  seq.end(100, 200);
  EXPECT_FALSE(seq.in_progress(0, 200));
}

/// All slots are taken, by ranges far away: what comes next shares the hull.
class InvalidateSeqHull : public ::testing::Test {
 protected:
  InvalidateSeqHull() {
    for (std::uint64_t i = 1; i <= slots; ++i) seq.begin(i << 32, (i << 32) + 1);
  }

  ~InvalidateSeqHull() override {
    for (std::uint64_t i = 1; i <= slots; ++i) seq.end(i << 32, (i << 32) + 1);
    EXPECT_EQ(seq.count(), 0u);
    EXPECT_FALSE(seq.in_progress(0, ~std::uint64_t(0)));
  }

  InvalidateSeq seq;
};

TEST_F(InvalidateSeqHull, I22_parallel_ranges_are_a_count_and_a_hull) {
  const std::uint64_t snapshot = seq.snapshot();
  seq.begin(100, 200);
  EXPECT_FALSE(seq.in_progress(500, 600));
  seq.begin(500, 600);
  EXPECT_EQ(seq.count(), slots + 2);
  EXPECT_TRUE(seq.in_progress(100, 101));
  EXPECT_TRUE(seq.in_progress(500, 501));
  EXPECT_TRUE(seq.in_progress(300, 301)) << "a hull covers what lies between; that is allowed";
  EXPECT_FALSE(seq.in_progress(600, 700));
  EXPECT_FALSE(seq.in_progress(0, 100));
  seq.end(500, 600);
  EXPECT_EQ(seq.count(), slots + 1);
  EXPECT_TRUE(seq.in_progress(100, 101));
  seq.end(100, 200);
  EXPECT_FALSE(seq.in_progress(100, 600));
  EXPECT_EQ(seq.stale(snapshot, 0, 1), Staleness::moved);
}

TEST_F(InvalidateSeqHull, starts_anew_when_none_of_its_ranges_is_in_progress) {
  seq.begin(0, 1000);
  seq.end(0, 1000);
  seq.begin(100, 200);
  EXPECT_FALSE(seq.in_progress(0, 100));
  EXPECT_FALSE(seq.in_progress(200, 1000));
  seq.begin(50, 60);
  EXPECT_TRUE(seq.in_progress(50, 51));
  EXPECT_TRUE(seq.in_progress(199, 200));
  seq.end(100, 200);
  seq.end(50, 60);
}

TEST_F(InvalidateSeqHull, slot_that_becomes_free_is_used_again) {
  seq.begin(100, 200); // in the hull
  seq.end(1ull << 32, (1ull << 32) + 1);
  seq.begin(300, 400); // in the slot
  EXPECT_FALSE(seq.in_progress(200, 300));
  seq.end(100, 200);
  EXPECT_FALSE(seq.in_progress(100, 200));
  EXPECT_TRUE(seq.in_progress(300, 400));
  seq.end(300, 400);
  seq.begin(1ull << 32, (1ull << 32) + 1);
}

TEST(InvalidateSeq, I09_sequence_crosses_its_wraps) {
  for (const std::uint64_t edge :
       {std::uint64_t(1) << 31, std::uint64_t(1) << 32, std::uint64_t(0)}) {
    InvalidateSeq seq(edge - 2);
    for (int i = 0; i < 5; ++i) {
      const std::uint64_t snapshot = seq.snapshot();
      seq.begin(0, 1);
      EXPECT_EQ(seq.stale(snapshot, 0, 1), Staleness::in_progress);
      seq.end(0, 1);
      EXPECT_EQ(seq.stale(snapshot, 0, 1), Staleness::moved);
      EXPECT_EQ(seq.stale(seq.snapshot(), 0, 1), Staleness::fresh);
    }
  }
}

TEST(InvalidateSeq, wait_sleeps_until_no_range_covers_and_only_then_returns) {
  InvalidateSeq seq;
  seq.wait(0, 100); // nothing to wait for
  seq.begin(0, 100);
  seq.begin(0, 100);
  std::atomic<bool> woken{false};
  std::thread waiter([&] {
    seq.wait(50, 51);
    EXPECT_EQ(seq.count(), 0u);
    woken = true;
  });
  EXPECT_TRUE(stays([&] { return !woken.load(); }));
  seq.end(0, 100);
  EXPECT_TRUE(stays([&] { return !woken.load(); })) << "one of two has ended";
  seq.end(0, 100);
  waiter.join();
}

TEST(InvalidateSeq, wait_ignores_ranges_elsewhere) {
  InvalidateSeq seq;
  seq.begin(0, 100);
  seq.wait(100, 200);
  seq.end(0, 100);
}

TEST(InvalidateSeq, no_wake_up_is_lost) {
  InvalidateSeq seq;
  std::atomic<bool> stop{false};
  std::thread ranges([&] {
    while (!stop) {
      seq.begin(0, 100);
      seq.end(0, 100);
    }
  });
  for (int i = 0; i < 20000; ++i) seq.wait(0, 100); // hangs if one is
  stop = true;
  ranges.join();
}

TEST(InvalidateSeq, I22_reader_that_sees_no_range_sees_its_sequence) {
  // While a range is in progress `dirty` is true. Whoever finds the count at zero and the sequence
  // unmoved must find it false.
  InvalidateSeq seq;
  std::atomic<int> changes{0}; // odd inside a range
  std::atomic<bool> stop{false};
  std::atomic<int> fresh{0};
  std::thread reader([&] {
    while (!stop) {
      const std::uint64_t snapshot = seq.snapshot();
      const int before = changes.load(std::memory_order_relaxed);
      StdAtomics::fence();
      if (seq.stale(snapshot, 0, 1) != Staleness::fresh) continue;
      EXPECT_EQ(before % 2, 0) << "resolved in the middle of a range, and found fresh";
      ++fresh;
    }
  });
  for (int i = 0; i < 20000 || fresh.load() == 0; ++i) {
    seq.begin(0, 1);
    changes.fetch_add(1, std::memory_order_relaxed);
    changes.fetch_add(1, std::memory_order_relaxed);
    seq.end(0, 1);
    if (i % 16 == 0) std::this_thread::yield();
  }
  stop = true;
  reader.join();
}

/// With this many slots; 1: the hull is used, too.
template <class Seq> class InvalidateSeqSteps : public ::testing::Test {};

using A = testing::HookedAtomics;
using StepSeqs = ::testing::Types<InvalidateSeqOf<A, Mutex, 1>, InvalidateSeqOf<A>>;
TYPED_TEST_SUITE(InvalidateSeqSteps, StepSeqs);

TYPED_TEST(InvalidateSeqSteps, I22_no_step_of_an_end_looks_fresh_to_a_fault_that_began_before_it) {
  TypeParam seq;
  for (int nested = 0; nested < 2; ++nested) {
    const std::uint64_t snapshot = seq.snapshot();
    if (nested == 1) seq.begin(50, 200); // the other is in the hull, if there is one slot only
    seq.begin(0, 100);
    int steps = 0;
    A::after_store = [&] {
      ++steps;
      EXPECT_NE(seq.stale(snapshot, 0, 100), Staleness::fresh) << "step " << steps;
    };
    seq.end(0, 100);
    if (nested == 1) seq.end(50, 200);
    A::after_store = nullptr;
    EXPECT_GT(steps, 1);
  }
}

TYPED_TEST(InvalidateSeqSteps, I22_no_step_of_a_begin_uncovers_a_range_in_progress) {
  TypeParam seq;
  seq.begin(1000, 1001);
  seq.begin(100, 200);
  A::after_store = [&] {
    EXPECT_TRUE(seq.in_progress(100, 101) && seq.in_progress(199, 200));
    EXPECT_TRUE(seq.in_progress(1000, 1001));
  };
  seq.begin(150, 160);
  seq.begin(0, 10);
  seq.begin(500, 600);
  seq.end(0, 10);
  seq.end(500, 600);
  seq.begin(300, 310);
  A::after_store = nullptr;
  seq.end(300, 310);
  seq.end(150, 160);
  seq.end(100, 200);
  seq.end(1000, 1001);
  EXPECT_FALSE(seq.in_progress(0, ~std::uint64_t(0)));
}

TEST(InvalidateSeqDeathTest, I18_end_without_a_start) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  InvalidateSeq seq;
  EXPECT_DEATH(seq.end(0, 1), "without its start");
  seq.begin(0, 2);
  EXPECT_DEATH(seq.end(0, 1), "without its start");
}

} // namespace
} // namespace slat::mmu
