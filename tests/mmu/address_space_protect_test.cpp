// protect: splits, merges, what subscribers see, what faults see. (mprotect)
#include "mmu/address_space.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::expect_views_agree;
using testing::FakeNotifier;
using testing::World;

using Vmas = std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint32_t>>;

struct ProtectTest : ::testing::Test {
  World world{32};
  std::uintptr_t base = testing::free_addresses(32);

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base + (page << page_shift); }

  Result<void> protect(std::uint64_t page, std::uint64_t count, std::uint32_t flags) {
    return world.mm.protect(at(page), count << page_shift, flags);
  }

  /// [first, end) in pages from base, and the flags.
  Vmas vmas() {
    Vmas found;
    for (const VmaView& vma : world.mm.vmas())
      found.emplace_back((vma.start - base) >> page_shift, (vma.end - base) >> page_shift,
                         vma.flags);
    return found;
  }
};

TEST_F(ProtectTest, part_of_a_vma_is_split_off_and_merged_again) {
  world.map(0, 12, base);
  ASSERT_TRUE(protect(4, 4, vm_read));
  EXPECT_EQ(vmas(), (Vmas{{0, 4, 3}, {4, 8, 1}, {8, 12, 3}}));
  expect_views_agree(world);
  ASSERT_TRUE(protect(4, 4, vm_read | vm_write)); // the kernel's case 6
  EXPECT_EQ(vmas(), (Vmas{{0, 12, 3}}));
  expect_views_agree(world);
}

struct MergeCase {
  const char* name;
  std::uint32_t before, changed, after; // flags of [0,4), [4,12) and [12,16)
  std::uint64_t first, count;
  std::uint32_t flags;
  Vmas expected;
};

struct ProtectMerge : ProtectTest, ::testing::WithParamInterface<MergeCase> {};

TEST_P(ProtectMerge, as_the_kernel_does) {
  const MergeCase& tested = GetParam();
  world.map(0, 16, base);
  ASSERT_TRUE(protect(0, 4, tested.before));
  ASSERT_TRUE(protect(4, 8, tested.changed));
  ASSERT_TRUE(protect(12, 4, tested.after));
  const std::size_t live = testing::settled_vmas(world.mm) - world.mm.vmas().size();
  ASSERT_TRUE(protect(tested.first, tested.count, tested.flags));
  EXPECT_EQ(vmas(), tested.expected);
  EXPECT_EQ(testing::settled_vmas(world.mm), live + tested.expected.size());
  expect_views_agree(world);
}

INSTANTIATE_TEST_SUITE_P(
    Kernel, ProtectMerge,
    ::testing::Values(
        MergeCase{"case4_tail_to_the_next", 5, 1, 3, 8, 4, 3, {{0, 4, 5}, {4, 8, 1}, {8, 16, 3}}},
        MergeCase{
            "case5_head_to_the_one_before", 1, 3, 5, 4, 4, 1, {{0, 8, 1}, {8, 12, 3}, {12, 16, 5}}},
        MergeCase{"case6_joins_both", 1, 3, 1, 4, 8, 1, {{0, 16, 1}}},
        MergeCase{"case7_whole_to_the_one_before", 1, 3, 5, 4, 8, 1, {{0, 12, 1}, {12, 16, 5}}},
        MergeCase{"case8_whole_to_the_next", 5, 3, 1, 4, 8, 1, {{0, 4, 5}, {4, 16, 1}}},
        MergeCase{"over_parts_of_three", 5, 3, 1, 2, 12, 0, {{0, 2, 5}, {2, 14, 0}, {14, 16, 1}}},
        MergeCase{"nothing_changes", 5, 3, 1, 4, 8, 3, {{0, 4, 5}, {4, 12, 3}, {12, 16, 1}}}),
    [](const auto& tested) { return tested.param.name; });

TEST_F(ProtectTest, range_with_a_hole_is_refused_and_nothing_is_done) {
  world.map(0, 4, base);
  world.map(8, 4, at(6));
  for (const auto& [first, count] : {std::pair{0u, 10u}, {3u, 2u}, {4u, 2u}, {8u, 4u}}) {
    const auto refused = protect(first, count, vm_read);
    ASSERT_FALSE(refused) << first;
    EXPECT_EQ(refused.error().code, Errc::not_mapped);
  }
  EXPECT_EQ(vmas(), (Vmas{{0, 4, 3}, {6, 10, 3}}));
  EXPECT_EQ(protect(0, 1, vm_locked).error().code, Errc::invalid_argument);
  EXPECT_EQ(world.mm.protect(at(0) + 1, page_size, vm_read).error().code, Errc::invalid_argument);
  expect_views_agree(world);
}

TEST_F(ProtectTest, faults_obey_and_content_stays) {
  world.map(0, 4, base);
  world.touch(base, 4);
  *world.backing->host_view(1) = std::byte('k');
  ASSERT_TRUE(protect(1, 1, vm_read));
  EXPECT_EQ(world.fault(at(1), vm_write).result, FaultResult::denied);
  EXPECT_EQ(world.fault(at(2), vm_write).result, FaultResult::done);
  ASSERT_TRUE(protect(1, 1, vm_none));
  EXPECT_EQ(world.fault(at(1)).result, FaultResult::denied);
  ASSERT_TRUE(protect(1, 1, vm_read | vm_write));
  world.touch(base, 4);
  EXPECT_EQ(*reinterpret_cast<std::byte*>(at(1)), std::byte('k'));
  EXPECT_EQ(world.source->fills_of(1), 1u);
}

TEST_F(ProtectTest, is_announced_and_takes_translations_away) {
  FakeNotifier notifier;
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  world.map(0, 8, base);
  world.touch(base, 8);
  std::vector<NotifierRange> ranges;
  notifier.on_start = [&](const NotifierRange& range) {
    ranges.push_back(range);
    EXPECT_EQ(testing::host_pages(world.name, *world.backing).at(at(2)).permissions, "rw-s");
    return true;
  };
  notifier.on_end = [&](const NotifierRange&) {
    EXPECT_EQ(testing::host_pages(world.name, *world.backing).at(at(2)).permissions, "r--s");
    EXPECT_FALSE(world.backing->word(2).read().has(PageBits::installed));
    EXPECT_TRUE(world.backing->word(1).read().has(PageBits::installed));
  };
  ASSERT_TRUE(protect(2, 3, vm_read));
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].event, InvalidateEvent::protect);
  EXPECT_EQ(ranges[0].start, at(2));
  EXPECT_EQ(ranges[0].end, at(5));
  EXPECT_EQ(notifier.balance(), 0);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(ProtectTest, I10_I12_waits_for_the_readers_of_what_it_changes) {
  if (world.mm.vma_lock() == VmaLockDesign::spf) GTEST_SKIP() << "spf: readers do not exclude";
  world.map(0, 8, base);
  world.touch(base, 8);
  const VmaTicket ticket = world.mm.lock_vma_under_rcu(at(6));
  ASSERT_TRUE(ticket);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    EXPECT_TRUE(protect(0, 2, vm_read));
    done = true;
  });
  EXPECT_TRUE(testing::stays([&] { return !done.load(); })) << "the tree changes under a reader";
  world.mm.vma_end_read(ticket);
  writer.join();
  EXPECT_EQ(vmas(), (Vmas{{0, 2, 1}, {2, 8, 3}}));
}

TEST_F(ProtectTest, lets_a_fill_under_way_go_on) {
  World sleepy(8, true);
  testing::Latch filling;
  testing::Latch go;
  sleepy.source->before = [&](Backing&, PageRun) {
    filling.open();
    go.wait();
    return FillResult::filled;
  };
  const std::uintptr_t start = sleepy.map(0, 4);
  std::thread fault([&] { EXPECT_EQ(sleepy.fault(start, vm_write).result, FaultResult::denied); });
  filling.wait();
  ASSERT_TRUE(sleepy.mm.protect(start, 4 * page_size, vm_read)) << "does not wait for the source";
  go.open();
  fault.join();
  EXPECT_EQ(sleepy.backing->word(0).read().state(), PageState::present);
}

} // namespace
} // namespace slat::mmu
