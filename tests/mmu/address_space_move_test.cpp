// move: mremap's semantics. Shrink, grow in place, grow by moving, move onto VMAs and across VMAs;
// content and page words go along, foreign mappings are never touched.
#include "mmu/address_space.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::expect_views_agree;
using testing::FakeNotifier;
using testing::pattern_of;
using testing::World;

using Vmas = std::vector<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>>;

struct MoveTest : ::testing::Test {
  World world{64};
  std::uintptr_t base = testing::free_addresses(64);

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base + (page << page_shift); }

  Result<std::uintptr_t> move(std::uint64_t page, std::uint64_t old_count, std::uint64_t new_count,
                              std::uint64_t to) {
    return world.mm.move({.address = at(page),
                          .old_length = old_count << page_shift,
                          .new_length = new_count << page_shift,
                          .to = at(to)});
  }

  Result<std::uintptr_t> resize(std::uint64_t page, std::uint64_t old_count,
                                std::uint64_t new_count, bool may_move = false) {
    return world.mm.move({.address = at(page),
                          .old_length = old_count << page_shift,
                          .new_length = new_count << page_shift,
                          .may_move = may_move});
  }

  /// [first, end) in pages from base, and the page of the backing.
  void expect_vmas(const Vmas& expected) {
    Vmas found;
    for (const VmaView& vma : world.mm.vmas())
      found.emplace_back((vma.start - base) >> page_shift, (vma.end - base) >> page_shift,
                         vma.pgoff);
    EXPECT_EQ(found, expected);
    expect_views_agree(world);
    EXPECT_EQ(testing::reserved_bytes(at(0), at(64)), 0u) << "address space is kept";
  }

  /// The guest reads page `pgoff` at `page`, and nobody filled it a second time.
  void expect_content(std::uint64_t page, std::uint64_t pgoff) {
    ASSERT_EQ(world.fault(at(page)).result, FaultResult::done);
    EXPECT_EQ(*reinterpret_cast<std::byte*>(at(page)), pattern_of(pgoff));
    EXPECT_EQ(world.source->fills_of(pgoff), 1u) << pgoff;
  }
};

TEST_F(MoveTest, shrinks_where_it_is_and_frees_the_rest) {
  world.map(0, 10, base);
  world.touch(base, 10);
  EXPECT_EQ(*resize(0, 10, 4), at(0));
  expect_vmas({{0, 4, 0}});
  EXPECT_EQ(testing::allocated_pages(*world.backing), 4u);
  EXPECT_EQ(*resize(1, 3, 1), at(1)) << "the end of a part";
  expect_vmas({{0, 2, 0}});
  expect_content(1, 1);
}

TEST_F(MoveTest, to_the_same_length_changes_nothing) {
  world.map(0, 4, base);
  EXPECT_EQ(*resize(0, 4, 4), at(0));
  EXPECT_EQ(*resize(1, 2, 2, true), at(1));
  expect_vmas({{0, 4, 0}});
}

TEST_F(MoveTest, grows_in_place_if_there_is_room) {
  world.map(10, 4, base);
  world.touch(base, 4);
  EXPECT_EQ(*resize(0, 4, 7), at(0));
  expect_vmas({{0, 7, 10}});
  EXPECT_EQ(*resize(5, 2, 3), at(5)) << "by its end";
  expect_vmas({{0, 8, 10}});
  expect_content(2, 12);
  expect_content(7, 17);
}

TEST_F(MoveTest, growth_merges_with_what_follows) {
  world.map(10, 4, base);
  world.map(16, 4, at(6));
  EXPECT_EQ(*resize(0, 4, 6), at(0));
  expect_vmas({{0, 10, 10}});
}

TEST_F(MoveTest, growth_into_a_vma_is_refused_unless_it_may_move) {
  world.map(10, 4, base);
  world.map(30, 4, at(5));
  world.touch(base, 4);
  const auto refused = resize(0, 4, 8);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::no_memory);
  expect_vmas({{0, 4, 10}, {5, 9, 30}});
  const auto moved = resize(0, 4, 8, true);
  ASSERT_TRUE(moved) << testing::why(moved);
  EXPECT_NE(*moved, at(0));
  EXPECT_EQ(world.fault(at(0)).result, FaultResult::no_vma);
  EXPECT_EQ(world.mm.vmas().size(), 2u);
  expect_views_agree(world);
  for (const std::uint64_t page : {0u, 3u, 7u}) {
    const std::uintptr_t address = *moved + (page << page_shift);
    ASSERT_EQ(world.fault(address).result, FaultResult::done);
    EXPECT_EQ(*reinterpret_cast<std::byte*>(address), pattern_of(10 + page));
    EXPECT_EQ(world.source->fills_of(10 + page), 1u);
  }
}

TEST_F(MoveTest, growth_into_a_foreign_mapping_leaves_it_alone) {
  world.map(10, 4, base);
  auto foreign = host::map_shared(at(5), page_size, 3, world.backing->fd(), 50 * page_size);
  ASSERT_TRUE(foreign);
  *reinterpret_cast<volatile char*>(*foreign) = 'f';
  EXPECT_FALSE(resize(0, 4, 8));
  ASSERT_TRUE(resize(0, 4, 8, true));
  EXPECT_EQ(*reinterpret_cast<volatile char*>(*foreign), 'f');
  ASSERT_TRUE(host::unmap(*foreign, page_size));
}

TEST_F(MoveTest, growth_is_aligned_as_asked_where_it_goes) {
  world.map(10, 4, base);
  world.map(30, 1, at(4));
  constexpr std::size_t alignment = std::size_t(1) << 21;
  const auto moved = world.mm.move({.address = base,
                                    .old_length = 4 * page_size,
                                    .new_length = 6 * page_size,
                                    .may_move = true,
                                    .alignment = alignment});
  ASSERT_TRUE(moved);
  EXPECT_EQ(*moved % alignment, 0u);
  expect_views_agree(world);
}

TEST_F(MoveTest, growth_beyond_the_backing_or_into_mapped_pages_is_refused) {
  world.map(60, 4, base);
  EXPECT_EQ(resize(0, 4, 5, true).error().code, Errc::invalid_argument);
  world.map(10, 4, at(10));
  world.map(15, 2, at(30));
  EXPECT_EQ(resize(10, 4, 6, true).error().code, Errc::exists) << "page 15 is mapped elsewhere";
  EXPECT_FALSE(resize(11, 2, 3, true)) << "a middle grows over its own end";
  world.map(24, 4, at(14));
  EXPECT_EQ(resize(10, 8, 9, true).error().code, Errc::invalid_argument) << "two VMAs";
  expect_vmas({{0, 4, 60}, {10, 14, 10}, {14, 18, 24}, {30, 32, 15}});
}

TEST_F(MoveTest, elsewhere_is_not_where_it_was) {
  const std::uintptr_t from = world.map(0, 4);
  const auto moved =
      world.mm.move({.address = from, .old_length = 4 * page_size, .new_length = 4 * page_size});
  ASSERT_TRUE(moved);
  EXPECT_EQ(*moved, from) << "there is no need";
  const auto elsewhere = world.mm.move({.address = from,
                                        .old_length = 4 * page_size,
                                        .new_length = 4 * page_size,
                                        .elsewhere = true});
  ASSERT_TRUE(elsewhere);
  EXPECT_NE(*elsewhere, from);
  EXPECT_EQ(world.mm.vmas().front().start, *elsewhere);
}

TEST_F(MoveTest, whole_vma_goes_to_a_free_place_with_its_words_and_its_content) {
  world.map(10, 4, base);
  world.touch(base, 3);
  *world.backing->host_view(11) = std::byte('m');
  world.backing->word(11).set_flags(PageBits::dirty);
  std::vector<std::uint64_t> words;
  for (std::uint64_t page = 10; page < 14; ++page)
    words.push_back(world.backing->word(page).read().raw() & ~PageBits::installed);
  EXPECT_EQ(*move(0, 4, 4, 20), at(20));
  expect_vmas({{20, 24, 10}});
  for (std::uint64_t page = 10; page < 14; ++page)
    EXPECT_EQ(world.backing->word(page).read().raw(), words[page - 10])
        << "not installed, else as it was";
  EXPECT_EQ(world.fault(at(0)).result, FaultResult::no_vma);
  ASSERT_EQ(world.fault(at(21)).result, FaultResult::done);
  EXPECT_EQ(*reinterpret_cast<std::byte*>(at(21)), std::byte('m'));
  expect_content(22, 12);
  expect_content(23, 13);
}

TEST_F(MoveTest, middle_of_a_vma_leaves_its_ends_behind) {
  world.map(0, 10, base);
  world.touch(base, 10);
  EXPECT_EQ(*move(3, 4, 4, 20), at(20));
  expect_vmas({{0, 3, 0}, {7, 10, 7}, {20, 24, 3}});
  EXPECT_EQ(*move(20, 4, 4, 3), at(3)) << "and back, where all three become one";
  expect_vmas({{0, 10, 0}});
  for (std::uint64_t page = 0; page < 10; ++page) expect_content(page, page);
}

TEST_F(MoveTest, middle_of_a_locked_vma_leaves_its_ends_locked) {
  world.map(0, 10, base);
  ASSERT_TRUE(world.mm.lock(at(0), 10 * page_size));
  EXPECT_EQ(*move(3, 4, 4, 20), at(20));
  expect_vmas({{0, 3, 0}, {7, 10, 7}, {20, 24, 3}});
  EXPECT_EQ(testing::host_locked_pages(world.name).size(), 10u);
  EXPECT_EQ(*move(20, 4, 4, 3), at(3));
  expect_vmas({{0, 10, 0}});
}

TEST_F(MoveTest, across_vmas_keeps_their_distances_and_flags) {
  world.map(0, 4, base);
  world.map(20, 4, at(4), vm_read);
  world.touch(base, 8);
  EXPECT_EQ(*move(2, 5, 5, 30), at(30));
  expect_vmas({{0, 2, 0}, {7, 8, 23}, {30, 32, 2}, {32, 35, 20}});
  EXPECT_EQ(world.fault(at(33), vm_write).result, FaultResult::denied);
  expect_content(31, 3);
  expect_content(34, 22);
}

TEST_F(MoveTest, onto_vmas_takes_their_place) {
  world.map(0, 4, base);
  world.map(20, 4, at(10));
  world.map(30, 4, at(16));
  world.touch(base, 4);
  world.touch(at(10), 4);
  world.touch(at(16), 4);
  EXPECT_EQ(*move(0, 4, 4, 13), at(13)); // the end of one, a hole, the start of another
  expect_vmas({{10, 13, 20}, {13, 17, 0}, {17, 20, 31}});
  EXPECT_EQ(world.backing->word(23).read().raw(), 0u) << "freed";
  EXPECT_EQ(world.backing->word(30).read().raw(), 0u);
  EXPECT_EQ(testing::allocated_pages(*world.backing), 10u);
  for (std::uint64_t page = 0; page < 4; ++page) expect_content(13 + page, page);
  expect_content(12, 22);
  expect_content(17, 31);
}

TEST_F(MoveTest, onto_a_foreign_mapping_is_refused) {
  world.map(0, 4, base);
  world.map(20, 2, at(10));
  auto foreign = host::map_shared(at(13), page_size, 3, world.backing->fd(), 50 * page_size);
  ASSERT_TRUE(foreign);
  EXPECT_EQ(move(0, 4, 4, 10).error().code, Errc::exists);
  ASSERT_TRUE(host::unmap(*foreign, page_size));
  expect_vmas({{0, 4, 0}, {10, 12, 20}});
}

TEST_F(MoveTest, shrinks_and_grows_on_the_way) {
  world.map(0, 8, base);
  world.touch(base, 8);
  EXPECT_EQ(*move(0, 8, 5, 20), at(20));
  expect_vmas({{20, 25, 0}});
  EXPECT_EQ(testing::allocated_pages(*world.backing), 5u);
  EXPECT_EQ(*move(20, 5, 7, 0), at(0));
  expect_vmas({{0, 7, 0}});
  expect_content(4, 4);
  ASSERT_EQ(world.fault(at(6)).result, FaultResult::done);
  EXPECT_EQ(world.source->fills_of(6), 2u) << "it was freed on the way";
}

TEST_F(MoveTest, merges_where_it_arrives) {
  world.map(0, 4, base);
  world.map(4, 4, at(20));
  world.map(8, 4, at(34));
  EXPECT_EQ(*move(20, 4, 4, 30), at(30));
  EXPECT_EQ(*move(0, 4, 4, 26), at(26));
  expect_vmas({{26, 38, 0}});
}

TEST_F(MoveTest, senseless_requests_are_refused) {
  world.map(0, 8, base);
  for (const std::uint64_t to : {0u, 3u, 7u})
    EXPECT_EQ(move(0, 8, 8, to).error().code, Errc::invalid_argument) << "onto itself";
  EXPECT_EQ(move(4, 4, 8, 1).error().code, Errc::invalid_argument) << "its new end on itself";
  EXPECT_EQ(move(6, 4, 4, 20).error().code, Errc::not_mapped);
  EXPECT_EQ(move(30, 4, 4, 20).error().code, Errc::not_mapped);
  const MoveRequest bad[] = {
      {.address = base + 1, .old_length = page_size, .new_length = page_size},
      {.address = base, .old_length = 0, .new_length = page_size},
      {.address = base, .old_length = page_size, .new_length = 0},
      {.address = base, .old_length = page_size, .new_length = page_size, .to = 0},
      {.address = base, .old_length = page_size, .new_length = page_size, .to = at(20) + 1},
      {.address = base, .old_length = page_size, .new_length = page_size, .alignment = 100},
      {.address = base, .old_length = page_size, .new_length = ~std::uint64_t(0) - 4095},
  };
  for (const MoveRequest& request : bad)
    EXPECT_EQ(world.mm.move(request).error().code, Errc::invalid_argument);
  expect_vmas({{0, 8, 0}});
}

TEST_F(MoveTest, is_announced_at_the_old_place_and_frees_after_the_flush) {
  FakeNotifier notifier;
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  world.map(0, 6, base);
  world.map(20, 4, at(30));
  world.touch(base, 6);
  world.touch(at(30), 4);
  std::vector<NotifierRange> ranges;
  notifier.on_start = [&](const NotifierRange& range) {
    ranges.push_back(range);
    EXPECT_TRUE(testing::host_pte_present(at(0)));
    EXPECT_EQ(testing::allocated_pages(*world.backing), 10u);
    return true;
  };
  notifier.on_end = [&](const NotifierRange& range) {
    // I20: nothing of the range can be reached any more, from anywhere, once it has ended.
    const auto host = testing::host_pages(world.name, *world.backing);
    if (range.event == InvalidateEvent::move)
      for (std::uint64_t page = 0; page < 6; ++page) EXPECT_FALSE(host.contains(at(page)));
  };
  EXPECT_EQ(*move(0, 6, 4, 28), at(28));
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].event, InvalidateEvent::move);
  EXPECT_EQ(ranges[0].start, at(0));
  EXPECT_EQ(ranges[0].end, at(4));
  EXPECT_EQ(ranges[1].event, InvalidateEvent::unmap) << "what is cut off";
  EXPECT_EQ(ranges[1].start, at(4));
  EXPECT_EQ(ranges[2].event, InvalidateEvent::unmap) << "what is in the way";
  EXPECT_EQ(ranges[2].start, at(30));
  EXPECT_EQ(ranges[2].end, at(32));
  EXPECT_EQ(notifier.balance(), 0);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(MoveTest, I13_fault_under_way_at_the_old_place_finds_nothing_there_afterwards) {
  World sleepy(8, true);
  testing::Latch filling;
  testing::Latch go;
  sleepy.source->before = [&](Backing&, PageRun) {
    filling.open();
    go.wait();
    return FillResult::filled;
  };
  const std::uintptr_t start = sleepy.map(0, 4);
  const std::uintptr_t to = testing::free_addresses(4);
  std::thread fault([&] { EXPECT_EQ(sleepy.fault(start).result, FaultResult::no_vma); });
  filling.wait();
  ASSERT_TRUE(sleepy.mm.move(
      {.address = start, .old_length = 4 * page_size, .new_length = 4 * page_size, .to = to}))
      << "the fill goes on: the page stays";
  go.open();
  fault.join();
  EXPECT_TRUE(sleepy.mmu.calls().empty()) << "nothing is installed at the old place";
  EXPECT_EQ(sleepy.fault(to).result, FaultResult::done);
  EXPECT_EQ(sleepy.source->fills_of(0), 1u);
}

} // namespace
} // namespace slat::mmu
