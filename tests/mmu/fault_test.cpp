// What a fault ends in. fault_around_test.cpp has its neighbours, fault_race_test.cpp its races.
#include "mmu/fault.hpp"

#include "support.hpp"

#include <set>

namespace slat::mmu {
namespace {

using testing::byte_at;
using testing::FakeMmu;
using testing::pattern_of;
using testing::World;

struct FaultTest : ::testing::Test {
  World world{16};
};

TEST_F(FaultTest, done_fills_the_page_once_and_installs_it) {
  const std::uintptr_t at = world.map(4, 8);
  const FaultOutcome outcome = world.fault(at + 2 * page_size + 123);
  EXPECT_EQ(outcome.result, FaultResult::done);
  EXPECT_EQ(outcome.installed_start, at + 2 * page_size);
  EXPECT_EQ(outcome.installed_end, at + 3 * page_size);
  EXPECT_EQ(world.mmu.calls(), (std::vector<FakeMmu::Call>{{at + 2 * page_size, 1, true}}));
  EXPECT_EQ(world.source->fills_of(6), 1u);
  EXPECT_EQ(byte_at(*world.backing, 6), pattern_of(6));
  const PageBits bits = world.backing->word(6).read();
  EXPECT_EQ(bits.state(), PageState::present);
  EXPECT_TRUE(bits.has(PageBits::installed | PageBits::accessed));
  EXPECT_FALSE(bits.owned());
  EXPECT_EQ(world.count(Counter::fault_count), 1u);
  EXPECT_EQ(world.count(Counter::filled_pages), 1u);
  EXPECT_EQ(world.count(Counter::installed_pages), 1u);
  EXPECT_EQ(world.count(Counter::fault_retry_count), 0u);
  EXPECT_EQ(world.count(Counter::mm_lock_fallback_count), 0u);
}

TEST_F(FaultTest, I40_present_page_is_installed_again_but_not_filled_again) {
  const std::uintptr_t at = world.map(0, 1);
  ASSERT_EQ(world.fault(at).result, FaultResult::done);
  ASSERT_EQ(world.fault(at).result, FaultResult::done);
  EXPECT_EQ(world.mmu.calls().size(), 2u);
  EXPECT_EQ(world.source->fills_of(0), 1u);
}

TEST_F(FaultTest, without_a_secondary_mmu_the_page_is_only_made_present) {
  const std::uintptr_t at = world.map(0, 1);
  const FaultOutcome outcome = handle_mm_fault(world.mm, {.address = at});
  EXPECT_EQ(outcome.result, FaultResult::done);
  EXPECT_EQ(outcome.installed_start, outcome.installed_end);
  EXPECT_TRUE(world.mmu.calls().empty());
  EXPECT_EQ(world.backing->word(0).read().raw(), std::uint64_t(PageState::present));
}

TEST_F(FaultTest, no_vma_where_nothing_is_mapped) {
  const std::uintptr_t at = world.map(0, 4);
  EXPECT_EQ(world.fault(at - 1).result, FaultResult::no_vma);
  EXPECT_EQ(world.fault(at + 4 * page_size).result, FaultResult::no_vma);
  EXPECT_EQ(world.fault(0).result, FaultResult::no_vma);
  EXPECT_EQ(world.fault(~std::uintptr_t(0)).result, FaultResult::no_vma);
  const bool lockless = world.mm.vma_lock() != VmaLockDesign::mmap_lock;
  EXPECT_EQ(world.count(Counter::mm_lock_fallback_count), lockless ? 4u : 0u)
      << "only the mm lock can tell that nothing is there";
  EXPECT_TRUE(world.mmu.calls().empty());
}

TEST_F(FaultTest, denied_leaves_the_page_alone) {
  const std::uintptr_t read_only = world.map(0, 1, 0, vm_read);
  const std::uintptr_t none = world.map(2, 1, 0, vm_none);
  EXPECT_EQ(world.fault(read_only, vm_write).result, FaultResult::denied);
  EXPECT_EQ(world.fault(read_only, vm_exec).result, FaultResult::denied);
  EXPECT_EQ(world.fault(none, vm_read).result, FaultResult::denied);
  EXPECT_TRUE(world.source->runs().empty());
  EXPECT_EQ(world.fault(read_only, vm_read).result, FaultResult::done);
  EXPECT_EQ(world.mmu.calls().back().writable, false);
  EXPECT_FALSE(world.backing->word(0).read().has(PageBits::dirty)) << "nobody can have written it";
  ASSERT_TRUE(world.mm.unmap(none, page_size)) << "a denied fault leaves no lock";
}

TEST_F(FaultTest, I41_page_whose_source_failed_is_poisoned_and_never_zeroes) {
  world.source->before = [](Backing&, PageRun run) {
    return run.first == 1 ? FillResult::failed : FillResult::filled;
  };
  const std::uintptr_t at = world.map(0, 2);
  EXPECT_EQ(world.fault(at + page_size).result, FaultResult::poisoned);
  world.source->before = nullptr; // too late: the content is lost
  EXPECT_EQ(world.fault(at + page_size).result, FaultResult::poisoned);
  EXPECT_EQ(world.source->fills_of(1), 1u);
  EXPECT_TRUE(world.mmu.calls().empty());
  EXPECT_EQ(world.count(Counter::poisoned_pages), 1u);
  EXPECT_EQ(world.fault(at).result, FaultResult::done) << "its neighbour is fine";
  ASSERT_TRUE(world.mm.advise(at + page_size, page_size, Advice::dontneed));
  EXPECT_EQ(world.fault(at + page_size).result, FaultResult::poisoned) << "a zap heals nothing";
  ASSERT_TRUE(world.mm.advise(at + page_size, page_size, Advice::remove));
  EXPECT_EQ(world.fault(at + page_size).result, FaultResult::done) << "given up and filled anew";
}

TEST_F(FaultTest, no_memory_loses_nothing_and_may_be_tried_again) {
  bool memory = false;
  world.source->before = [&](Backing&, PageRun) {
    return memory ? FillResult::filled : FillResult::no_memory;
  };
  const std::uintptr_t at = world.map(0, 1);
  EXPECT_EQ(world.fault(at).result, FaultResult::no_memory);
  EXPECT_EQ(world.backing->word(0).read().raw(), 0u);
  memory = true;
  EXPECT_EQ(world.fault(at).result, FaultResult::done);
}

TEST_F(FaultTest, sleeping_source_is_called_without_the_vma_lock) {
  World sleepy(2, /*source_sleeps=*/true);
  const std::uintptr_t at = sleepy.map(0, 2);
  sleepy.source->before = [&](Backing&, PageRun) {
    // A writer that has to wait for this very fault would wait for ever.
    EXPECT_TRUE(sleepy.mm.protect(at + page_size, page_size, vm_read));
    return FillResult::filled;
  };
  EXPECT_EQ(sleepy.fault(at).result, FaultResult::done);
  EXPECT_EQ(sleepy.source->fills_of(0), 1u);
  EXPECT_EQ(sleepy.mmu.calls().size(), 1u);
}

TEST_F(FaultTest, result_texts_are_distinct) {
  std::set<std::string_view> texts;
  for (int result = 0; result <= int(FaultResult::failed); ++result)
    EXPECT_TRUE(texts.insert(to_string(FaultResult(result))).second);
}

// ---- what the secondary MMU says

struct InstallCase {
  const char* name;
  InstallStatus first; // then it works
  FaultResult expected;
  std::size_t calls;
  bool installed_bit;
};

struct InstallAnswer : FaultTest, ::testing::WithParamInterface<InstallCase> {};

TEST_P(InstallAnswer, decides_the_fault) {
  const InstallCase& answer = GetParam();
  bool asked = false;
  world.mmu.decide = [&](const FakeMmu::Call& call) {
    if (asked) return InstallResult{InstallStatus::installed, call.pages};
    asked = true;
    return InstallResult{answer.first, answer.first == InstallStatus::installed ? 1u : 0u};
  };
  const std::uintptr_t at = world.map(0, 1);
  EXPECT_EQ(world.fault(at).result, answer.expected);
  EXPECT_EQ(world.mmu.calls().size(), answer.calls);
  const PageBits bits = world.backing->word(0).read();
  EXPECT_FALSE(bits.owned()) << "the page lock is dropped on every way out";
  EXPECT_EQ(bits.has(PageBits::installed), answer.installed_bit);
  EXPECT_EQ(world.source->fills_of(0), 1u);
}

TEST_F(FaultTest, host_that_knows_of_no_mapping_is_believed_in_the_end) {
  world.mmu.decide = [](const FakeMmu::Call&) { return InstallResult{InstallStatus::gone, 0}; };
  const std::uintptr_t at = world.map(0, 1);
  EXPECT_EQ(world.fault(at).result, FaultResult::no_vma);
  EXPECT_GT(world.mmu.calls().size(), 1u) << "the map says otherwise";
  EXPECT_FALSE(world.backing->word(0).read().owned());
}

INSTANTIATE_TEST_SUITE_P(
    Of, InstallAnswer,
    ::testing::Values(
        InstallCase{"installed", InstallStatus::installed, FaultResult::done, 1, true},
        InstallCase{"already_installed", InstallStatus::already_installed, FaultResult::done, 1,
                    true},
        InstallCase{"retry", InstallStatus::retry, FaultResult::done, 2, true},
        InstallCase{"partial_of_nothing", InstallStatus::partial, FaultResult::done, 2, true},
        InstallCase{"gone", InstallStatus::gone, FaultResult::done, 2, true},
        InstallCase{"no_memory", InstallStatus::no_memory, FaultResult::no_memory, 1, false},
        InstallCase{"failed", InstallStatus::failed, FaultResult::failed, 1, false}),
    [](const auto& tested) { return tested.param.name; });

TEST_F(FaultTest, install_runs_with_the_page_locked_and_present) {
  world.mmu.decide = [&](const FakeMmu::Call& call) {
    const PageBits bits = world.backing->word(0).read();
    EXPECT_TRUE(bits.has(PageBits::locked)) << "the lock is what plays FROZEN";
    EXPECT_EQ(bits.state(), PageState::present);
    return InstallResult{InstallStatus::installed, call.pages};
  };
  EXPECT_EQ(world.fault(world.map(0, 1)).result, FaultResult::done);
}

TEST_F(FaultTest, nothing_is_held_after_a_fault) {
  const std::uintptr_t at = world.map(0, 4);
  for (std::uint64_t page = 0; page < 4; ++page) (void)world.fault(at + page * page_size);
  ASSERT_TRUE(world.mm.unmap(at, page_size)) << "a writer would wait for a lock left behind";
  EXPECT_EQ(world.mm.fault_srcu().readers(), 0u);
}

TEST(FaultDeathTest, fault_with_a_page_lock_held) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  World world(2);
  const std::uintptr_t at = world.map(0, 1);
  EXPECT_DEATH(
      {
        world.backing->word(1).lock();
        (void)world.fault(at);
      },
      "page lock held");
}

} // namespace
} // namespace slat::mmu
