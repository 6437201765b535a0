// map: placements, limits, accounting, merging; and the window.
#include "mmu/address_space.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::expect_views_agree;
using testing::free_addresses;
using testing::pattern_of;
using testing::World;

constexpr std::uint64_t MiB = std::uint64_t(1) << 20;

struct MapTest : ::testing::Test {
  World world{64};
  std::uintptr_t base = free_addresses(32);

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base + (page << page_shift); }

  Result<std::uintptr_t> map(std::uint64_t page, std::uint64_t count, std::uint64_t pgoff,
                             bool replace = false, std::uint32_t flags = vm_read | vm_write) {
    return world.mm.map({.address = at(page),
                         .replace = replace,
                         .length = count << page_shift,
                         .flags = flags,
                         .backing = world.backing.get(),
                         .pgoff = pgoff});
  }

  /// [first, end) in pages from base, and the page of the backing.
  void expect_vmas(
      const std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>>& expected) {
    std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>> found;
    for (const VmaView& vma : world.mm.vmas())
      found.emplace_back((vma.start - base) >> page_shift, (vma.end - base) >> page_shift,
                         vma.pgoff);
    EXPECT_EQ(found, expected);
    expect_views_agree(world);
  }
};

TEST_F(MapTest, replace_takes_the_place_of_parts_and_fills_the_holes_between) {
  ASSERT_TRUE(map(0, 6, 0));
  ASSERT_TRUE(map(8, 6, 10));
  world.touch(at(0), 6);
  world.touch(at(8), 6);
  EXPECT_EQ(map(4, 6, 20).error().code, Errc::exists);
  expect_vmas({{0, 6, 0}, {8, 14, 10}});
  ASSERT_TRUE(map(4, 6, 20, true));
  expect_vmas({{0, 4, 0}, {4, 10, 20}, {10, 14, 12}});
  EXPECT_EQ(testing::allocated_pages(*world.backing), 8u) << "what was replaced went back";
  for (const std::uint64_t page : {4u, 5u, 10u, 11u})
    EXPECT_EQ(world.backing->word(page).read().raw(), 0u);
  world.touch(at(0), 14);
  EXPECT_EQ(*reinterpret_cast<std::byte*>(at(4)), pattern_of(20));
  EXPECT_EQ(*reinterpret_cast<std::byte*>(at(10)), pattern_of(12));
  EXPECT_EQ(world.source->fills_of(12), 1u) << "what stayed kept its content";
}

TEST_F(MapTest, replace_of_a_middle_splits) {
  ASSERT_TRUE(map(0, 10, 0));
  ASSERT_TRUE(map(3, 2, 30, true));
  expect_vmas({{0, 3, 0}, {3, 5, 30}, {5, 10, 5}});
}

TEST_F(MapTest, replace_of_nothing_is_a_plain_map) {
  ASSERT_TRUE(map(0, 3, 0, true));
  expect_vmas({{0, 3, 0}});
}

TEST_F(MapTest, foreign_mapping_is_never_replaced) {
  ASSERT_TRUE(map(0, 2, 0));
  auto foreign = host::map_shared(at(3), page_size, 3, world.backing->fd(), 0);
  ASSERT_TRUE(foreign);
  *reinterpret_cast<volatile char*>(*foreign) = 'f';
  EXPECT_EQ(map(1, 4, 20, true).error().code, Errc::exists);
  EXPECT_EQ(*reinterpret_cast<volatile char*>(*foreign), 'f');
  ASSERT_TRUE(host::unmap(*foreign, page_size));
  expect_vmas({{0, 2, 0}});
}

TEST_F(MapTest, page_is_mapped_once_at_most) {
  ASSERT_TRUE(map(0, 4, 10));
  for (const std::uint64_t pgoff : {8u, 11u, 13u}) {
    const auto refused = map(8, 3, pgoff);
    ASSERT_FALSE(refused) << pgoff;
    EXPECT_EQ(refused.error().code, Errc::exists);
  }
  const auto elsewhere = testing::make_mm(world.counters);
  EXPECT_EQ(elsewhere->map({.length = page_size, .backing = world.backing.get(), .pgoff = 12})
                .error()
                .code,
            Errc::exists)
      << "in another address space neither";
  expect_vmas({{0, 4, 10}});
  ASSERT_TRUE(map(8, 2, 8));
  ASSERT_TRUE(world.mm.unmap(at(1), page_size));
  ASSERT_TRUE(map(12, 1, 11)) << "free again";
  expect_vmas({{0, 1, 10}, {2, 4, 12}, {8, 10, 8}, {12, 13, 11}});
}

TEST_F(MapTest, neighbours_that_continue_each_other_become_one) {
  const std::size_t live = testing::settled_vmas(world.mm);
  ASSERT_TRUE(map(4, 4, 4));
  ASSERT_TRUE(map(12, 4, 12));
  ASSERT_TRUE(map(8, 2, 8)); // extends the one before
  expect_vmas({{4, 10, 4}, {12, 16, 12}});
  ASSERT_TRUE(map(11, 1, 11)); // extends the one after
  expect_vmas({{4, 10, 4}, {11, 16, 11}});
  ASSERT_TRUE(map(10, 1, 10)); // joins both
  expect_vmas({{4, 16, 4}});
  EXPECT_EQ(testing::settled_vmas(world.mm), live + 1);
  ASSERT_TRUE(map(16, 2, 20));               // another page
  ASSERT_TRUE(map(2, 2, 2, false, vm_read)); // other flags
  expect_vmas({{2, 4, 2}, {4, 16, 4}, {16, 18, 20}});
  world.touch(at(2), 16);
  EXPECT_EQ(*reinterpret_cast<std::byte*>(at(10)), pattern_of(10));
}

TEST_F(MapTest, I12_fault_on_a_neighbour_waits_until_the_merge_is_decided_and_done) {
  ASSERT_TRUE(map(4, 4, 4));
  world.touch(at(4), 4);
  // A reader inside the neighbour: what is to be merged is not even looked at. One that speculates
  // keeps nobody out: I14 and I17 are what it goes by.
  if (world.mm.vma_lock() == VmaLockDesign::spf) GTEST_SKIP() << "spf: readers do not exclude";
  const VmaTicket ticket = world.mm.lock_vma_under_rcu(at(5));
  ASSERT_TRUE(ticket);
  std::atomic<bool> mapped{false};
  std::thread writer([&] {
    EXPECT_TRUE(map(8, 2, 8));
    mapped = true;
  });
  EXPECT_TRUE(testing::stays([&] { return !mapped.load(); }));
  world.mm.vma_end_read(ticket);
  writer.join();
  expect_vmas({{4, 10, 4}});
}

TEST_F(MapTest, usage_says_what_is_mapped_committed_locked_and_resident) {
  ASSERT_TRUE(map(0, 4, 0));
  ASSERT_TRUE(map(8, 3, 20, false, vm_read));
  world.touch(at(0), 2);
  MemoryUsage usage = world.mm.usage();
  EXPECT_EQ(usage.vmas, 2u);
  EXPECT_EQ(usage.mapped_bytes, 7 * page_size);
  EXPECT_EQ(usage.committed_bytes, 4 * page_size);
  EXPECT_EQ(usage.locked_bytes, 0u);
  EXPECT_EQ(usage.resident_bytes, 2 * page_size);
  ASSERT_TRUE(world.mm.lock(at(9), 2 * page_size));
  ASSERT_TRUE(world.mm.protect(at(8), page_size, vm_read | vm_write));
  ASSERT_TRUE(map(3, 2, 30, true));
  usage = world.mm.usage();
  EXPECT_EQ(usage.vmas, 4u);
  EXPECT_EQ(usage.mapped_bytes, 8 * page_size);
  EXPECT_EQ(usage.committed_bytes, 6 * page_size);
  EXPECT_EQ(usage.locked_bytes, 2 * page_size);
  EXPECT_EQ(usage.resident_bytes, 4 * page_size);
  ASSERT_TRUE(world.mm.unmap(at(0), 32 * page_size));
  usage = world.mm.usage();
  EXPECT_EQ(usage.vmas + usage.mapped_bytes + usage.committed_bytes + usage.locked_bytes, 0u);
  EXPECT_EQ(usage.resident_bytes, 0u);
}

TEST_F(MapTest, locked_is_no_flag_to_map_with) {
  EXPECT_EQ(map(0, 1, 0, false, vm_read | vm_locked).error().code, Errc::invalid_argument);
}

TEST(MapLimits, more_vmas_than_the_limit_are_refused) {
  World world(64, false, {.vma_limit = 3});
  const std::uintptr_t base = free_addresses(32);
  world.map(0, 8, base);
  world.map(20, 4, base + 10 * page_size);
  const auto refused = world.mm.unmap(base + 2 * page_size, page_size); // makes three
  EXPECT_TRUE(refused) << testing::why(refused);
  const auto one_more = world.mm.unmap(base + 5 * page_size, page_size);
  ASSERT_FALSE(one_more);
  EXPECT_EQ(one_more.error().code, Errc::no_memory);
  EXPECT_FALSE(world.mm.protect(base + 4 * page_size, page_size, vm_read));
  EXPECT_FALSE(world.mm.map({.length = page_size, .backing = world.backing.get(), .pgoff = 40}));
  EXPECT_FALSE(world.mm.lock(base + 4 * page_size, page_size));
  EXPECT_EQ(world.mm.vmas().size(), 3u);
  EXPECT_TRUE(world.mm.map({.address = base + 14 * page_size,
                            .length = page_size,
                            .backing = world.backing.get(),
                            .pgoff = 24}))
      << "merges";
  EXPECT_TRUE(world.mm.unmap(base + 7 * page_size, page_size)) << "shortens";
  EXPECT_TRUE(world.mm.unmap(base, 12 * page_size)) << "takes away";
  EXPECT_EQ(world.mm.vmas().size(), 1u);
  expect_views_agree(world);
}

TEST(MapLimits, more_than_the_commit_limit_is_refused) {
  World world(64, false, {.commit_limit = 8 * page_size});
  const std::uintptr_t base = free_addresses(32);
  world.map(0, 8, base);
  world.map(20, 8, base + 10 * page_size, vm_read);
  EXPECT_EQ(world.mm.protect(base + 10 * page_size, page_size, vm_read | vm_write).error().code,
            Errc::no_memory);
  const auto refused =
      world.mm.map({.length = page_size, .backing = world.backing.get(), .pgoff = 40});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::no_memory);
  EXPECT_NE(refused.error().message.find("commit limit"), std::string::npos);
  EXPECT_FALSE(
      world.mm.move({.address = base, .old_length = 8 * page_size, .new_length = 9 * page_size}));
  EXPECT_TRUE(world.mm.map({.address = base,
                            .replace = true,
                            .length = 4 * page_size,
                            .backing = world.backing.get(),
                            .pgoff = 40}))
      << "in the place of as much";
  EXPECT_TRUE(world.mm.protect(base, 2 * page_size, vm_read));
  EXPECT_TRUE(world.mm.protect(base + 10 * page_size, 2 * page_size, vm_read | vm_write));
  EXPECT_EQ(world.mm.usage().committed_bytes, 8 * page_size);
  expect_views_agree(world);
}

struct WindowTest : ::testing::Test {
  static constexpr std::uint64_t bytes = 4 * MiB;
  World world{2 * (bytes >> page_shift), false, {.window = bytes}};

  Result<std::uintptr_t> map(std::uint64_t length, std::uint64_t pgoff,
                             std::size_t alignment = page_size, std::uintptr_t address = 0) {
    return world.mm.map({.address = address,
                         .length = length,
                         .backing = world.backing.get(),
                         .pgoff = pgoff,
                         .alignment = alignment});
  }
};

TEST_F(WindowTest, anywhere_is_the_lowest_gap_that_fits) {
  const auto first = map(MiB, 0);
  ASSERT_TRUE(first);
  const std::uintptr_t start = *first;
  const std::uint64_t mib_pages = MiB >> page_shift;
  EXPECT_EQ(*map(MiB, 3 * mib_pages), start + MiB);
  EXPECT_EQ(*map(MiB, 5 * mib_pages), start + 2 * MiB);
  ASSERT_TRUE(world.mm.unmap(start + MiB, MiB));
  EXPECT_EQ(*map(page_size, 3 * mib_pages), start + MiB);
  EXPECT_EQ(*map(page_size, 3 * mib_pages + 9, 64 * page_size), start + MiB + 64 * page_size);
  const auto full = map(MiB + page_size, 6 * mib_pages);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::no_memory);
  EXPECT_EQ(*map(MiB, 6 * mib_pages), start + 3 * MiB);
  expect_views_agree(world);
}

TEST_F(WindowTest, what_is_unmapped_stays_reserved) {
  const auto first = map(MiB, 0);
  ASSERT_TRUE(first);
  const std::uintptr_t start = *first;
  EXPECT_EQ(testing::reserved_bytes(start, start + bytes), bytes - MiB);
  ASSERT_TRUE(world.mm.unmap(start + page_size, MiB - 2 * page_size));
  EXPECT_EQ(testing::reserved_bytes(start, start + bytes), bytes - 2 * page_size);
  ASSERT_TRUE(world.mm.unmap(start, MiB));
  EXPECT_EQ(testing::reserved_bytes(start, start + bytes), bytes);
  EXPECT_EQ(*map(page_size, 7, page_size, start + 5 * page_size), start + 5 * page_size)
      << "at an address of one's own";
  ASSERT_TRUE(world.mm.move({.address = start + 5 * page_size,
                             .old_length = page_size,
                             .new_length = page_size,
                             .to = start + MiB}));
  EXPECT_EQ(testing::reserved_bytes(start, start + bytes), bytes - page_size);
  expect_views_agree(world);
}

TEST_F(WindowTest, is_gone_with_the_address_space) {
  const auto first = map(MiB, 0);
  ASSERT_TRUE(first);
  const std::uintptr_t start = *first;
  world.mm_owner.reset();
  EXPECT_EQ(testing::reserved_bytes(start, start + bytes), 0u);
  EXPECT_TRUE(testing::host_pages(world.name, *world.backing).empty());
}

// VMAs outside may touch those inside, and be merged with them.
TEST_F(WindowTest, vma_over_its_edge_keeps_the_part_inside_reserved_when_it_goes) {
  const auto first = map(bytes, 0);
  ASSERT_TRUE(first);
  const std::uintptr_t start = *first;
  const std::uintptr_t end = start + bytes;
  auto over = map(4 * page_size, bytes >> page_shift, page_size, end);
  if (!over) GTEST_SKIP() << "something foreign is behind the window: " << testing::why(over);
  ASSERT_EQ(world.mm.vmas().size(), 1u) << "merged over the edge";
  ASSERT_TRUE(world.mm.unmap(end - 4 * page_size, 8 * page_size));
  EXPECT_EQ(testing::reserved_bytes(end - 4 * page_size, end), 4 * page_size);
  // And mapped over it in one piece.
  ASSERT_TRUE(map(6 * page_size, (bytes >> page_shift) + 8, page_size, end - 3 * page_size));
  expect_views_agree(world);
  ASSERT_TRUE(world.mm.unmap(start, bytes + 4 * page_size));
  EXPECT_EQ(testing::reserved_bytes(start, end), bytes);
  EXPECT_EQ(testing::host_pages(world.name, *world.backing).size(), 0u);
}

TEST(Window, size_must_be_a_multiple_of_the_page_size) {
  Counters counters;
  const auto refused = AddressSpace::create(
      {.vma_lock = testing::design_under_test(), .window = page_size + 1}, counters);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

} // namespace
} // namespace slat::mmu
