#include "mmu/mmu_gather.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::allocated_pages;
using testing::byte_at;
using testing::World;

struct FakeFlusher final : TlbFlusher {
  void flush_range(std::uintptr_t start, std::uintptr_t end) override {
    ++flushes;
    last_start = start;
    last_end = end;
    if (on_flush) on_flush();
  }

  int flushes = 0;
  std::uintptr_t last_start = 0, last_end = 0;
  std::function<void()> on_flush;
};

struct GatherTest : ::testing::Test {
  World world{8};
  Backing& backing = *world.backing;
  FakeFlusher flusher;
  FakeFlusher other;
  std::vector<TlbFlusher*> flushers{&flusher, &other};

  void SetUp() override {
    for (std::uint64_t page = 0; page < 8; ++page) {
      PageState was{};
      ASSERT_EQ(backing.word(page).claim_fill(was), FillClaim::claimed);
      ASSERT_EQ(world.source->fill(backing, {page, 1}), FillResult::filled);
      backing.word(page).finish_fill(PageState::present);
    }
  }
};

TEST_F(GatherTest, I27_pages_are_freed_only_after_the_flush) {
  flusher.on_flush = [&] {
    EXPECT_EQ(allocated_pages(backing), 8u) << "freed before the flush";
    EXPECT_EQ(byte_at(backing, 3), testing::pattern_of(3));
    EXPECT_EQ(backing.word(3).read().state(), PageState::present);
  };
  MmuGather gather(flushers, world.counters, 0x10000, 0x14000);
  gather.add(backing, {2, 3});
  gather.add(backing, {6, 1});
  EXPECT_EQ(flusher.flushes, 0) << "one flush for all that is gathered";
  FlushedPages flushed = gather.flush();
  EXPECT_EQ(allocated_pages(backing), 8u) << "the flush alone frees nothing";
  flushed.free();
  for (const FakeFlusher* each : {&flusher, &other}) {
    EXPECT_EQ(each->flushes, 1);
    EXPECT_EQ(each->last_start, 0x10000u);
    EXPECT_EQ(each->last_end, 0x14000u);
  }
  EXPECT_EQ(allocated_pages(backing), 4u);
  for (std::uint64_t page = 0; page < 8; ++page) {
    const bool freed = (page >= 2 && page < 5) || page == 6;
    EXPECT_EQ(backing.word(page).read().raw(), freed ? 0 : std::uint64_t(PageState::present));
  }
  EXPECT_EQ(world.count(Counter::freed_pages), 4u);
  EXPECT_EQ(world.count(Counter::tlb_flush_count), 1u);
}

TEST_F(GatherTest, kept_pages_keep_their_data) {
  MmuGather gather(flushers, world.counters, 0x10000, 0x14000);
  gather.add(backing, {0, 8});
  gather.flush().keep();
  EXPECT_EQ(flusher.flushes, 1);
  EXPECT_EQ(allocated_pages(backing), 8u);
  EXPECT_EQ(byte_at(backing, 5), testing::pattern_of(5));
}

TEST_F(GatherTest, I39_page_that_the_host_will_not_take_is_empty_all_the_same) {
  MmuGather gather(flushers, world.counters, 0, 0x8000);
  gather.add(backing, {0, 2});
  gather.add(backing, {4, 2});
  FlushedPages flushed = gather.flush();
  host::fail_call(1, EIO);
  flushed.free();
  host::fail_call(0, 0);
  EXPECT_EQ(backing.word(0).read().raw(), 0u);
  EXPECT_EQ(byte_at(backing, 1), std::byte(0)) << "its data is gone, though its memory is not";
  EXPECT_EQ(world.count(Counter::unfreed_pages), 2u);
  EXPECT_EQ(backing.word(4).read().raw(), 0u) << "the rest is given back";
  EXPECT_EQ(allocated_pages(backing), 6u);
}

TEST_F(GatherTest, poisoned_page_becomes_usable_when_it_is_freed) {
  testing::raw<std::uint64_t>(backing.word(1)).store(std::uint64_t(PageState::poisoned));
  MmuGather gather(flushers, world.counters, 0, 0x8000);
  gather.add(backing, {1, 1});
  gather.flush().free();
  EXPECT_EQ(backing.word(1).read().raw(), 0u);
}

using GatherDeathTest = GatherTest;

TEST_F(GatherDeathTest, I28_gather_dropped_without_its_flush) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      { const MmuGather gather(flushers, world.counters, 0, 0x1000); }, "without its flush");
}

TEST_F(GatherDeathTest, flushed_pages_dropped_unfinished) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        MmuGather gather(flushers, world.counters, 0, 0x1000);
        gather.add(backing, {0, 1});
        const FlushedPages dropped = gather.flush();
      },
      "neither freed nor kept");
}

TEST_F(GatherDeathTest, flush_with_a_page_lock_held) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        MmuGather gather(flushers, world.counters, 0, 0x1000);
        backing.word(0).lock();
        gather.flush().keep();
      },
      "page lock held");
}

} // namespace
} // namespace slat::mmu
