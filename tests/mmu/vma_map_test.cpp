// Every split and merge of VMAs, as pure functions: by name, and at random against a map of pages.
#include "mmu/vma_map.hpp"

#include <gtest/gtest.h>
#include <map>
#include <random>

namespace slat::mmu {
namespace {

Backing* backing(int number) { // only compared
  return reinterpret_cast<Backing*>(std::uintptr_t(0x1000) * std::uintptr_t(number));
}

/// Addresses are page numbers here, times the page size.
VmaView view(std::uint64_t first, std::uint64_t end, std::uint64_t pgoff, std::uint32_t flags = 3,
             int file = 1) {
  return {first << page_shift, end << page_shift, pgoff, flags, backing(file)};
}

std::uintptr_t page(std::uint64_t number) {
  return number << page_shift;
}

TEST(VmaMap, cut_shortens_splits_and_removes) {
  const VmaViews one{view(10, 20, 100)};
  EXPECT_EQ(cut(one, page(10), page(13)), (VmaViews{view(13, 20, 103)})) << "head";
  EXPECT_EQ(cut(one, page(17), page(20)), (VmaViews{view(10, 17, 100)})) << "tail";
  EXPECT_EQ(cut(one, page(13), page(15)), (VmaViews{view(10, 13, 100), view(15, 20, 105)}));
  EXPECT_EQ(cut(one, page(10), page(20)), VmaViews{});
  EXPECT_EQ(cut(one, page(5), page(25)), VmaViews{});
  EXPECT_EQ(cut(one, page(5), page(10)), one) << "touches below";
  EXPECT_EQ(cut(one, page(20), page(30)), one) << "touches above";
  const VmaViews three{view(0, 4, 0), view(6, 8, 50, 1), view(8, 12, 80, 3, 2)};
  EXPECT_EQ(cut(three, page(2), page(10)), (VmaViews{view(0, 2, 0), view(10, 12, 82, 3, 2)}));
}

TEST(VmaMap, inside_clips_with_the_right_pages) {
  const VmaViews two{view(0, 4, 40), view(6, 12, 60)};
  EXPECT_EQ(inside(two, page(2), page(8)), (VmaViews{view(2, 4, 42), view(6, 8, 60)}));
  EXPECT_EQ(inside(two, page(7), page(9)), (VmaViews{view(7, 9, 61)}));
  EXPECT_EQ(inside(two, page(4), page(6)), VmaViews{}) << "the hole";
}

TEST(VmaMap, empty_range_overlaps_nothing) {
  const VmaViews one{view(10, 20, 100)};
  EXPECT_EQ(inside(one, page(15), page(15)), VmaViews{});
  EXPECT_EQ(cut(one, page(15), page(15)), one);
  EXPECT_EQ(with_flags(one, page(15), page(15), vm_access_flags, vm_none), one);
}

TEST(VmaMap, first_hole_is_where_nothing_is_mapped) {
  const VmaViews views{view(2, 4, 0), view(4, 6, 9), view(8, 10, 20)};
  EXPECT_EQ(first_hole(views, page(2), page(6)), page(6)) << "none";
  EXPECT_EQ(first_hole(views, page(3), page(9)), page(6));
  EXPECT_EQ(first_hole(views, page(0), page(4)), page(0));
  EXPECT_EQ(first_hole(views, page(8), page(12)), page(10));
  EXPECT_EQ(first_hole({}, page(8), page(12)), page(8));
}

TEST(VmaMap, neighbours_continue_only_if_all_four_fit) {
  const VmaView first = view(10, 20, 100);
  EXPECT_TRUE(continues(first, view(20, 25, 110)));
  EXPECT_FALSE(continues(first, view(21, 25, 110))) << "a hole";
  EXPECT_FALSE(continues(first, view(20, 25, 111))) << "another page";
  EXPECT_FALSE(continues(first, view(20, 25, 110, 1))) << "other flags";
  EXPECT_FALSE(continues(first, view(20, 25, 110, 3, 2))) << "another backing";
  EXPECT_FALSE(continues(view(20, 25, 110), first)) << "the wrong way round";
}

// The kernel's eight cases of a merge. P, C, N: the mapping before, the one concerned, the one after.
// A: what is added (1 to 3) or is given the flags of a neighbour (4 to 8).
struct MergeCase {
  const char* name;
  VmaViews before;
  VmaView changed;
  VmaViews after;
};

struct VmaMerge : ::testing::TestWithParam<MergeCase> {};

TEST_P(VmaMerge, as_the_kernel_does) {
  const MergeCase& tested = GetParam();
  const VmaView& changed = tested.changed;
  const bool added = inside(tested.before, changed.start, changed.end).empty();
  const VmaViews after =
      added ? put(tested.before, changed)
            : with_flags(tested.before, changed.start, changed.end, vm_access_flags, changed.flags);
  EXPECT_EQ(coalesced(after), tested.after);
}

INSTANTIATE_TEST_SUITE_P(
    Kernel, VmaMerge,
    ::testing::Values(MergeCase{"case1_fills_the_hole_between_two",
                                {view(0, 4, 0), view(8, 12, 8)},
                                view(4, 8, 4),
                                {view(0, 12, 0)}},
                      MergeCase{"case2_extends_the_one_before",
                                {view(0, 4, 0), view(8, 12, 30)},
                                view(4, 8, 4),
                                {view(0, 8, 0), view(8, 12, 30)}},
                      MergeCase{"case3_extends_the_one_after",
                                {view(0, 4, 30), view(8, 12, 8)},
                                view(4, 8, 4),
                                {view(0, 4, 30), view(4, 12, 4)}},
                      MergeCase{"case4_end_of_one_goes_to_the_next",
                                {view(0, 8, 0, 1), view(8, 12, 8, 3)},
                                view(4, 8, 4, 3),
                                {view(0, 4, 0, 1), view(4, 12, 4, 3)}},
                      MergeCase{"case5_start_of_one_goes_to_the_one_before",
                                {view(0, 4, 0, 1), view(4, 12, 4, 3)},
                                view(4, 8, 4, 1),
                                {view(0, 8, 0, 1), view(8, 12, 8, 3)}},
                      MergeCase{"case6_whole_one_joins_both",
                                {view(0, 4, 0, 1), view(4, 8, 4, 3), view(8, 12, 8, 1)},
                                view(4, 8, 4, 1),
                                {view(0, 12, 0, 1)}},
                      MergeCase{"case7_whole_one_joins_the_one_before",
                                {view(0, 4, 0, 1), view(4, 8, 4, 3), view(8, 12, 8, 7)},
                                view(4, 8, 4, 1),
                                {view(0, 8, 0, 1), view(8, 12, 8, 7)}},
                      MergeCase{"case8_whole_one_joins_the_next",
                                {view(0, 4, 0, 7), view(4, 8, 4, 3), view(8, 12, 8, 1)},
                                view(4, 8, 4, 1),
                                {view(0, 4, 0, 7), view(4, 12, 4, 1)}}),
    [](const auto& tested) { return tested.param.name; });

TEST(VmaMap, with_flags_changes_the_masked_ones_and_splits) {
  const VmaViews one{view(0, 10, 0, vm_read | vm_locked)};
  EXPECT_EQ(with_flags(one, page(2), page(5), vm_access_flags, vm_write),
            (VmaViews{view(0, 2, 0, vm_read | vm_locked), view(2, 5, 2, vm_write | vm_locked),
                      view(5, 10, 5, vm_read | vm_locked)}));
  EXPECT_EQ(with_flags(one, page(0), page(10), vm_locked, vm_none),
            (VmaViews{view(0, 10, 0, vm_read)}));
}

TEST(VmaMap, bytes_with_flags) {
  const VmaViews views{view(0, 2, 0, 1), view(2, 5, 9, 3), view(5, 9, 20, 2)};
  EXPECT_EQ(bytes_with(views, vm_none), 9 * page_size);
  EXPECT_EQ(bytes_with(views, vm_write), 7 * page_size);
  EXPECT_EQ(bytes_with(views, vm_read | vm_write), 3 * page_size);
}

/// (file, page, flags) behind each page number.
using Pages = std::map<std::uint64_t, std::tuple<Backing*, std::uint64_t, std::uint32_t>>;

Pages pages_of(const VmaViews& views) {
  Pages pages;
  for (const VmaView& one : views)
    for (std::uintptr_t at = one.start; at < one.end; at += page_size)
      pages[at >> page_shift] = {one.backing, one.page_of(at), one.flags};
  return pages;
}

TEST(VmaMap, random_changes_do_to_views_what_they_do_to_pages) {
  std::mt19937 random(7);
  const auto below = [&](unsigned limit) { return std::uint64_t(random() % limit); };
  for (int round = 0; round < 200; ++round) {
    VmaViews views;
    Pages model;
    for (int step = 0; step < 60; ++step) {
      const std::uint64_t first = below(40);
      const std::uint64_t end = first + 1 + below(10);
      const auto flags = std::uint32_t(below(4));
      switch (below(3)) {
      case 0: { // map, replacing; mostly so that neighbours continue each other
        const int file = 1 + int(below(2));
        const std::uint64_t pgoff = first + (below(4) == 0 ? 1 : 0);
        views = put(cut(views, page(first), page(end)), view(first, end, pgoff, flags, file));
        for (std::uint64_t at = first; at < end; ++at)
          model[at] = {backing(file), pgoff + (at - first), flags};
        break;
      }
      case 1:
        views = cut(views, page(first), page(end));
        for (std::uint64_t at = first; at < end; ++at) model.erase(at);
        break;
      default:
        views = with_flags(views, page(first), page(end), vm_read, flags);
        for (std::uint64_t at = first; at < end; ++at)
          if (const auto found = model.find(at); found != model.end()) {
            std::uint32_t& has = std::get<2>(found->second);
            has = (has & ~std::uint32_t(vm_read)) | (flags & vm_read);
          }
        break;
      }
      views = coalesced(views);
      ASSERT_EQ(pages_of(views), model);
      for (std::size_t i = 1; i < views.size(); ++i) {
        ASSERT_LE(views[i - 1].end, views[i].start);
        ASSERT_FALSE(continues(views[i - 1], views[i]));
      }
    }
  }
}

} // namespace
} // namespace slat::mmu
