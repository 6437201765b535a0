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
  seq.end();
}

TEST(InvalidateSeq, I20_range_that_has_ended_since_the_snapshot_is_seen_everywhere) {
  InvalidateSeq seq;
  const std::uint64_t snapshot = seq.snapshot();
  seq.begin(100, 200);
  seq.end();
  EXPECT_EQ(seq.stale(snapshot, 150, 151), Staleness::moved);
  EXPECT_EQ(seq.stale(snapshot, 900, 901), Staleness::moved) << "one sequence for all";
  EXPECT_EQ(seq.stale(seq.snapshot(), 150, 151), Staleness::fresh);
}

TEST(InvalidateSeq, I22_parallel_ranges_are_a_count_and_a_hull) {
  InvalidateSeq seq;
  const std::uint64_t snapshot = seq.snapshot();
  seq.begin(100, 200);
  seq.begin(500, 600);
  EXPECT_EQ(seq.count(), 2u);
  EXPECT_TRUE(seq.in_progress(100, 101));
  EXPECT_TRUE(seq.in_progress(500, 501));
  EXPECT_TRUE(seq.in_progress(300, 301)) << "a hull covers what lies between; that is allowed";
  EXPECT_FALSE(seq.in_progress(600, 700));
  EXPECT_FALSE(seq.in_progress(0, 100));
  seq.end(); // of either: which one is not known
  EXPECT_EQ(seq.count(), 1u);
  EXPECT_TRUE(seq.in_progress(100, 101)) << "the first may be the one that goes on";
  EXPECT_TRUE(seq.in_progress(500, 501));
  seq.end();
  EXPECT_FALSE(seq.in_progress(100, 600));
  EXPECT_EQ(seq.stale(snapshot, 0, 1), Staleness::moved);
}

TEST(InvalidateSeq, hull_starts_anew_when_nothing_is_in_progress) {
  InvalidateSeq seq;
  seq.begin(0, 1000);
  seq.end();
  seq.begin(100, 200);
  EXPECT_FALSE(seq.in_progress(0, 100));
  EXPECT_FALSE(seq.in_progress(200, 1000));
  seq.begin(50, 60);
  EXPECT_TRUE(seq.in_progress(50, 51));
  EXPECT_TRUE(seq.in_progress(199, 200));
  seq.end();
  seq.end();
}

TEST(InvalidateSeq, I09_sequence_crosses_its_wraps) {
  for (const std::uint64_t edge :
       {std::uint64_t(1) << 31, std::uint64_t(1) << 32, std::uint64_t(0)}) {
    InvalidateSeq seq(edge - 2);
    for (int i = 0; i < 5; ++i) {
      const std::uint64_t snapshot = seq.snapshot();
      seq.begin(0, 1);
      EXPECT_EQ(seq.stale(snapshot, 0, 1), Staleness::in_progress);
      seq.end();
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
  seq.end();
  EXPECT_TRUE(stays([&] { return !woken.load(); })) << "one of two has ended";
  seq.end();
  waiter.join();
}

TEST(InvalidateSeq, wait_ignores_ranges_elsewhere) {
  InvalidateSeq seq;
  seq.begin(0, 100);
  seq.wait(100, 200);
  seq.end();
}

TEST(InvalidateSeq, no_wake_up_is_lost) {
  InvalidateSeq seq;
  std::atomic<bool> stop{false};
  std::thread ranges([&] {
    while (!stop) {
      seq.begin(0, 100);
      seq.end();
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
    seq.end();
    if (i % 16 == 0) std::this_thread::yield();
  }
  stop = true;
  reader.join();
}

TEST(InvalidateSeq, I22_no_step_of_an_end_looks_fresh_to_a_fault_that_began_before_it) {
  using A = testing::HookedAtomics;
  InvalidateSeqOf<A> seq;
  for (int nested = 0; nested < 2; ++nested) {
    const std::uint64_t snapshot = seq.snapshot();
    seq.begin(0, 100);
    if (nested == 1) seq.begin(50, 200);
    int steps = 0;
    A::after_store = [&] {
      ++steps;
      EXPECT_NE(seq.stale(snapshot, 0, 100), Staleness::fresh) << "step " << steps;
    };
    seq.end();
    if (nested == 1) seq.end();
    A::after_store = nullptr;
    EXPECT_GT(steps, 1);
  }
}

TEST(InvalidateSeq, I22_no_step_of_a_begin_uncovers_a_range_in_progress) {
  using A = testing::HookedAtomics;
  InvalidateSeqOf<A> seq;
  seq.begin(100, 200);
  A::after_store = [&] { EXPECT_TRUE(seq.in_progress(100, 101) && seq.in_progress(199, 200)); };
  seq.begin(150, 160);
  seq.begin(0, 10);
  seq.begin(500, 600);
  A::after_store = nullptr;
  for (int i = 0; i < 4; ++i) seq.end();
}

TEST(InvalidateSeqDeathTest, I18_end_without_a_start) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  InvalidateSeq seq;
  EXPECT_DEATH(seq.end(), "without its start");
}

} // namespace
} // namespace slat::mmu
