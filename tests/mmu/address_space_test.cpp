// map, unmap and advise against the real host mappings. address_space_failure_test.cpp makes each step
// fail.
#include "mmu/address_space.hpp"

#include "support.hpp"

#include <cstring>

namespace slat::mmu {
namespace {

using testing::allocated_pages;
using testing::byte_at;
using testing::FakeNotifier;
using testing::free_addresses;
using testing::pattern_of;
using testing::World;

struct AddressSpaceTest : ::testing::Test {
  World world{32};

  void expect_views_agree() { testing::expect_views_agree(world); }

  std::size_t mapped_pages() { return testing::host_pages(world.name, *world.backing).size(); }

  void touch(std::uintptr_t address, std::uint64_t pages) { world.touch(address, pages); }
};

TEST_F(AddressSpaceTest, map_anywhere_makes_one_host_mapping_and_fills_nothing) {
  const std::uintptr_t at = world.map(3, 5);
  EXPECT_EQ(mapped_pages(), 5u);
  expect_views_agree();
  const auto vmas = world.mm.vmas();
  ASSERT_EQ(vmas.size(), 1u);
  EXPECT_EQ(vmas[0].start, at);
  EXPECT_EQ(vmas[0].end, at + 5 * page_size);
  EXPECT_EQ(vmas[0].pgoff, 3u);
  EXPECT_EQ(allocated_pages(*world.backing), 0u);
}

TEST_F(AddressSpaceTest, map_anywhere_is_aligned_as_asked) {
  for (const std::size_t alignment : {std::size_t(1) << 21, std::size_t(1) << 30}) {
    const auto at =
        world.mm.map({.length = page_size, .backing = world.backing.get(), .alignment = alignment});
    ASSERT_TRUE(at) << testing::why(at);
    EXPECT_EQ(*at % alignment, 0u);
    expect_views_agree();
    ASSERT_TRUE(world.mm.unmap(*at, page_size));
  }
}

TEST_F(AddressSpaceTest, map_at_a_fixed_address_goes_there_or_nowhere) {
  const std::uintptr_t base = free_addresses(8);
  EXPECT_EQ(world.map(0, 4, base + 2 * page_size), base + 2 * page_size);
  expect_views_agree();
  for (const std::uint64_t first : {0u, 3u, 5u}) {
    const auto refused = world.mm.map({.address = base + first * page_size,
                                       .length = 3 * page_size,
                                       .backing = world.backing.get(),
                                       .pgoff = 10});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::exists);
  }
  expect_views_agree();
  EXPECT_EQ(world.map(10, 2, base), base) << "what only touches fits";
  EXPECT_EQ(world.mm.vmas().size(), 2u);
}

TEST_F(AddressSpaceTest, foreign_mapping_at_a_fixed_address_is_left_alone) {
  std::byte* const foreign = world.backing->host_view(0); // the host view is no guest view
  const auto refused = world.mm.map({.address = reinterpret_cast<std::uintptr_t>(foreign),
                                     .length = page_size,
                                     .backing = world.backing.get()});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::exists);
  EXPECT_TRUE(world.mm.vmas().empty());
}

TEST_F(AddressSpaceTest, flags_become_the_protection_of_the_host_mapping) {
  world.map(0, 1, 0, vm_read);
  world.map(2, 1, 0, vm_none);
  world.map(4, 1, 0, vm_read | vm_write);
  world.map(6, 1, 0, vm_read | vm_exec);
  expect_views_agree();
}

TEST_F(AddressSpaceTest, senseless_requests_are_refused_and_change_nothing) {
  Backing* const backing = world.backing.get();
  const std::uintptr_t base = free_addresses(1);
  const MapRequest bad[] = {
      {.length = 0, .backing = backing},
      {.length = page_size + 1, .backing = backing},
      {.address = base + 1, .length = page_size, .backing = backing},
      {.address = ~std::uintptr_t(0) - page_size + 1, .length = 2 * page_size, .backing = backing},
      {.length = 33 * page_size, .backing = backing},
      {.length = page_size, .backing = backing, .pgoff = 32},
      {.length = 2 * page_size, .backing = backing, .pgoff = 31},
      {.length = page_size, .backing = backing, .pgoff = ~std::uint64_t(0)},
      {.length = page_size, .backing = nullptr},
      {.length = page_size, .backing = backing, .alignment = 0},
      {.length = page_size, .backing = backing, .alignment = 3 * page_size},
      {.length = page_size, .backing = backing, .alignment = 512},
  };
  for (const MapRequest& request : bad) {
    const auto refused = world.mm.map(request);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::invalid_argument) << testing::why(refused);
  }
  EXPECT_EQ(world.mm.unmap(base + 1, page_size).error().code, Errc::invalid_argument);
  EXPECT_EQ(world.mm.advise(base, 0, Advice::remove).error().code, Errc::invalid_argument);
  EXPECT_TRUE(world.mm.vmas().empty());
  EXPECT_EQ(mapped_pages(), 0u);
}

struct UnmapCase {
  const char* name;
  std::uint64_t first, pages; // of ten mapped pages, which start at page 0
  std::size_t vmas_left;
};

struct UnmapSplit : AddressSpaceTest, ::testing::WithParamInterface<UnmapCase> {};

TEST_P(UnmapSplit, leaves_the_rest_with_its_data_and_frees_the_hole) {
  const UnmapCase& hole = GetParam();
  const std::uintptr_t at = world.map(0, 10);
  touch(at, 10);
  EXPECT_EQ(allocated_pages(*world.backing), 10u);
  ASSERT_TRUE(world.mm.unmap(at + hole.first * page_size, hole.pages * page_size));
  EXPECT_EQ(world.mm.vmas().size(), hole.vmas_left);
  EXPECT_EQ(mapped_pages(), 10 - hole.pages);
  EXPECT_EQ(allocated_pages(*world.backing), 10 - hole.pages);
  expect_views_agree();
  for (std::uint64_t page = 0; page < 10; ++page) {
    const bool gone = page >= hole.first && page < hole.first + hole.pages;
    const std::uintptr_t address = at + page * page_size;
    EXPECT_EQ(world.fault(address).result, gone ? FaultResult::no_vma : FaultResult::done);
    EXPECT_EQ(world.backing->word(page).read().state(),
              gone ? PageState::none : PageState::present);
    if (!gone) {
      EXPECT_EQ(*reinterpret_cast<std::byte*>(address), pattern_of(page))
          << "a piece maps the wrong page";
    }
    EXPECT_EQ(world.source->fills_of(page), 1u);
  }
}

INSTANTIATE_TEST_SUITE_P(Hole, UnmapSplit,
                         ::testing::Values(UnmapCase{"left", 0, 3, 1}, UnmapCase{"right", 6, 4, 1},
                                           UnmapCase{"middle", 2, 5, 2},
                                           UnmapCase{"whole", 0, 10, 0},
                                           UnmapCase{"one_page", 4, 1, 2}),
                         [](const auto& tested) { return tested.param.name; });

TEST_F(AddressSpaceTest, unmap_across_vmas_and_holes) {
  const std::uintptr_t base = free_addresses(20);
  world.map(0, 4, base);
  world.map(10, 4, base + 6 * page_size);
  world.map(20, 4, base + 10 * page_size); // touches the one before
  world.map(30, 2, base + 16 * page_size);
  touch(base, 4);
  touch(base + 6 * page_size, 8);
  touch(base + 16 * page_size, 2);
  // From the middle of the first to the middle of the third, over a hole.
  ASSERT_TRUE(world.mm.unmap(base + 2 * page_size, 10 * page_size));
  const auto vmas = world.mm.vmas();
  ASSERT_EQ(vmas.size(), 3u);
  EXPECT_EQ(vmas[0].end, base + 2 * page_size);
  EXPECT_EQ(vmas[1].start, base + 12 * page_size);
  EXPECT_EQ(vmas[1].pgoff, 22u);
  expect_views_agree();
  EXPECT_EQ(allocated_pages(*world.backing), 2u + 2u + 2u);
  EXPECT_EQ(byte_at(*world.backing, 23), pattern_of(23));
}

TEST_F(AddressSpaceTest, unmap_touches_nothing_foreign_in_its_holes) {
  const std::uintptr_t base = free_addresses(8);
  world.map(0, 2, base);
  world.map(4, 2, base + 6 * page_size);
  auto foreign = host::map_shared(base + 3 * page_size, page_size, 3, world.backing->fd(), 0);
  ASSERT_TRUE(foreign);
  ASSERT_TRUE(world.mm.unmap(base, 8 * page_size));
  EXPECT_EQ(mapped_pages(), 1u) << "the mapping between them belongs to somebody else";
  ASSERT_TRUE(host::unmap(*foreign, page_size));
}

TEST_F(AddressSpaceTest, unmap_of_nothing_is_fine_and_silent) {
  FakeNotifier notifier;
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  EXPECT_TRUE(world.mm.unmap(free_addresses(4), 4 * page_size));
  EXPECT_EQ(notifier.starts.load(), 0);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(AddressSpaceTest, range_can_be_mapped_again_and_is_filled_anew) {
  const std::uintptr_t at = world.map(0, 4);
  touch(at, 4);
  ASSERT_TRUE(world.mm.unmap(at, 4 * page_size));
  touch(world.map(0, 4), 4); // anywhere: a new thread's stack may be where the hole was
  EXPECT_EQ(world.source->fills_of(2), 2u);
  expect_views_agree();
}

TEST_F(AddressSpaceTest, I38_dontneed_takes_the_page_from_the_guest_and_keeps_its_data) {
  const std::uintptr_t at = world.map(0, 4);
  touch(at, 4);
  *world.backing->host_view(1) = std::byte('z');
  EXPECT_TRUE(testing::host_pte_present(at + page_size));
  ASSERT_TRUE(world.mm.advise(at + page_size, 2 * page_size, Advice::dontneed));
  EXPECT_TRUE(testing::host_pte_present(at)) << "a neighbour";
  EXPECT_FALSE(testing::host_pte_present(at + page_size));
  EXPECT_FALSE(testing::host_pte_present(at + 2 * page_size));
  EXPECT_TRUE(world.backing->word(0).read().has(PageBits::installed));
  EXPECT_FALSE(world.backing->word(1).read().has(PageBits::installed));
  EXPECT_EQ(world.backing->word(1).read().state(), PageState::present);
  EXPECT_EQ(allocated_pages(*world.backing), 4u);
  touch(at, 4);
  EXPECT_EQ(*reinterpret_cast<std::byte*>(at + page_size), std::byte('z'));
  EXPECT_EQ(world.source->fills_of(1), 1u);
}

TEST_F(AddressSpaceTest, I39_removed_page_is_filled_anew_and_its_memory_went_back) {
  const std::uintptr_t at = world.map(0, 4);
  touch(at, 4);
  *world.backing->host_view(1) = std::byte('z');
  ASSERT_TRUE(world.mm.advise(at + page_size, 2 * page_size, Advice::remove));
  EXPECT_EQ(allocated_pages(*world.backing), 2u);
  EXPECT_EQ(world.backing->word(1).read().raw(), 0u);
  EXPECT_EQ(byte_at(*world.backing, 1), std::byte(0));
  EXPECT_EQ(byte_at(*world.backing, 3), pattern_of(3)) << "a neighbour";
  EXPECT_FALSE(testing::host_pte_present(at + page_size));
  touch(at, 4);
  EXPECT_EQ(world.source->fills_of(1), 2u);
  EXPECT_EQ(world.count(Counter::freed_pages), 2u);
}

TEST_F(AddressSpaceTest, advise_wants_the_whole_range_mapped) {
  const std::uintptr_t base = free_addresses(8);
  world.map(0, 2, base);
  world.map(2, 2, base + 2 * page_size);
  world.map(4, 2, base + 5 * page_size);
  touch(base, 4);
  touch(base + 5 * page_size, 2);
  EXPECT_TRUE(world.mm.advise(base, 4 * page_size, Advice::dontneed)) << "two VMAs, no hole";
  for (const auto& [first, pages] : {std::pair{0u, 7u}, {4u, 2u}, {6u, 2u}, {4u, 1u}}) {
    const auto refused =
        world.mm.advise(base + first * page_size, pages * page_size, Advice::remove);
    ASSERT_FALSE(refused) << first;
    EXPECT_EQ(refused.error().code, Errc::not_mapped);
  }
  EXPECT_EQ(allocated_pages(*world.backing), 6u) << "then nothing is done";
}

TEST_F(AddressSpaceTest, changes_are_announced_while_the_pages_are_still_there) {
  FakeNotifier notifier;
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  const std::uintptr_t at = world.map(0, 8);
  EXPECT_EQ(notifier.starts.load(), 0) << "nothing can be mapped of what is new";
  touch(at, 8);
  std::vector<NotifierRange> ranges;
  notifier.on_start = [&](const NotifierRange& range) {
    ranges.push_back(range);
    EXPECT_TRUE(testing::host_pte_present(range.start));
    EXPECT_GT(allocated_pages(*world.backing), 0u);
    return true;
  };
  notifier.on_end = [&](const NotifierRange& range) {
    EXPECT_FALSE(world.backing->word(range.event == InvalidateEvent::unmap ? 5 : 1)
                     .read()
                     .has(PageBits::installed));
  };
  ASSERT_TRUE(world.mm.advise(at + page_size, page_size, Advice::dontneed));
  ASSERT_TRUE(world.mm.advise(at + 2 * page_size, page_size, Advice::remove));
  ASSERT_TRUE(world.mm.unmap(at + 5 * page_size, 100 * page_size));
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].event, InvalidateEvent::zap);
  EXPECT_EQ(ranges[1].event, InvalidateEvent::remove);
  EXPECT_EQ(ranges[2].event, InvalidateEvent::unmap);
  EXPECT_EQ(ranges[2].start, at + 5 * page_size);
  EXPECT_EQ(ranges[2].end, at + 8 * page_size) << "clipped to what was mapped";
  EXPECT_EQ(notifier.balance(), 0);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(AddressSpaceTest, I27_tlb_is_flushed_inside_the_range_and_before_pages_are_freed) {
  struct Flusher final : TlbFlusher {
    void flush_range(std::uintptr_t start, std::uintptr_t end) override { on_flush(start, end); }

    std::function<void(std::uintptr_t, std::uintptr_t)> on_flush;
  } flusher;

  const std::uintptr_t at = world.map(0, 8);
  touch(at, 8);
  int flushes = 0;
  flusher.on_flush = [&](std::uintptr_t start, std::uintptr_t end) {
    ++flushes;
    EXPECT_EQ(start, at + page_size);
    EXPECT_EQ(end, at + 4 * page_size);
    EXPECT_EQ(world.mm.notifiers().sequence().count(), 1u);
    EXPECT_EQ(byte_at(*world.backing, 2), pattern_of(2)) << "freed before the flush";
    EXPECT_FALSE(testing::host_pte_present(at + page_size)) << "flushed before the zap";
  };
  world.mm.add_tlb_flusher(flusher);
  ASSERT_TRUE(world.mm.advise(at + page_size, 3 * page_size, Advice::dontneed));
  ASSERT_TRUE(world.mm.advise(at + page_size, 3 * page_size, Advice::remove));
  EXPECT_EQ(flushes, 2);
  ASSERT_EQ(world.fault(at + 2 * page_size).result, FaultResult::done);
  (void)*reinterpret_cast<volatile char*>(at + 2 * page_size);
  ASSERT_TRUE(world.mm.unmap(at + page_size, 3 * page_size));
  EXPECT_EQ(flushes, 3);
}

TEST_F(AddressSpaceTest, lookups_lock_the_vma_they_return) {
  std::uintptr_t at = world.map(0, 4);
  for (const bool by_mm_lock : {false, true}) {
    const VmaTicket ticket = by_mm_lock ? world.mm.lock_vma_under_mm_lock(at + page_size)
                                        : world.mm.lock_vma_under_rcu(at + page_size);
    ASSERT_TRUE(ticket);
    EXPECT_EQ(ticket.view.start, at);
    EXPECT_EQ(ticket.view.page_of(at + 3 * page_size), 3u);
    std::atomic<bool> unmapped{false};
    std::thread writer([&] {
      EXPECT_TRUE(world.mm.unmap(at + 3 * page_size, page_size));
      unmapped = true;
    });
    // A speculation keeps no writer out: it learns of it when it commits.
    if (world.mm.vma_lock() != VmaLockDesign::spf || by_mm_lock)
      EXPECT_TRUE(testing::stays([&] { return !unmapped.load(); }));
    world.mm.vma_end_read(ticket);
    writer.join();
    ASSERT_TRUE(world.mm.unmap(at, 4 * page_size));
    at = world.map(0, 4);
  }
  EXPECT_FALSE(world.mm.lock_vma_under_rcu(at - 1));
  EXPECT_FALSE(world.mm.lock_vma_under_mm_lock(at + 4 * page_size));
}

TEST(AddressSpaceLife, I16_destruction_unmaps_everything_and_releases_backings_once) {
  std::atomic<int> released{0};
  Counters counters;
  const std::size_t live = live_vmas(testing::design_under_test());
  const std::size_t mappings = testing::host_mapping_count();
  FakeNotifier notifier;
  {
    const auto owned = testing::make_mm(counters);
    AddressSpace& mm = *owned;
    auto backing = Backing::create("slat-test-life", 8 * page_size,
                                   std::make_unique<testing::FakeSource>(false, &released));
    ASSERT_TRUE(backing);
    for (const std::uint64_t page : {0u, 2u, 5u})
      ASSERT_TRUE(mm.map({.length = page_size, .backing = *backing, .pgoff = page}));
    (*backing)->put(); // the VMAs hold it now
    EXPECT_EQ(released.load(), 0);
    ASSERT_TRUE(mm.notifiers().register_notifier(notifier));
    EXPECT_EQ(live_vmas(mm.vma_lock()), live + 3);
  }
  EXPECT_EQ(released.load(), 1);
  EXPECT_EQ(notifier.releases.load(), 1);
  EXPECT_EQ(live_vmas(testing::design_under_test()), live);
  EXPECT_EQ(testing::host_mapping_count(), mappings);
}

TEST(AddressSpaceLife, I01_two_address_spaces_share_one_cache_of_vmas) {
  World one(4);
  World two(4);
  const auto owned = testing::make_mm(one.counters);
  AddressSpace& second = *owned;
  const std::uintptr_t at = one.map(0, 4);
  ASSERT_TRUE(one.mm.unmap(at, 4 * page_size));
  // The very object, in another mm.
  const auto again = second.map({.length = 4 * page_size, .backing = two.backing.get()});
  ASSERT_TRUE(again);
  EXPECT_FALSE(one.mm.lock_vma_under_rcu(*again));
  const VmaTicket ticket = second.lock_vma_under_rcu(*again);
  ASSERT_TRUE(ticket);
  EXPECT_EQ(ticket.view.backing, two.backing.get());
  second.vma_end_read(ticket);
}

} // namespace
} // namespace slat::mmu
