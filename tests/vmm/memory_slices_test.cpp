#include "vmm/memory_slices.hpp"

#include <gmock/gmock.h>
#include <numeric>

namespace slat::vmm {
namespace {

using ::testing::SizeIs;

MemoryMap map_of(const std::vector<std::vector<std::uint8_t>>& parts) {
  MemoryMap map;
  Gpa start = 0;
  for (const auto& pages : parts) {
    map.parts.push_back({start, pages});
    start = map.parts.back().end() + (Gpa{1} << 30); // a hole
  }
  return map;
}

std::uint32_t of(const MemorySlice& slice, SliceState state) {
  return slice.pages[std::size_t(state)];
}

constexpr auto mapped = std::uint8_t(PageMark::resident | PageMark::mapped);
constexpr auto dirty = std::uint8_t(mapped | PageMark::young | PageMark::dirty);

TEST(MemorySlices, CountEachPageOnceByWhatItIs) {
  const auto slices =
      slice_memory(map_of({{0, PageMark::reclaimed, PageMark::poisoned, PageMark::resident, mapped,
                            std::uint8_t(mapped | PageMark::young), dirty,
                            std::uint8_t(dirty | PageMark::write_tracked | PageMark::huge)}}),
                   1);
  ASSERT_THAT(slices, SizeIs(1));
  for (std::size_t i = 0; i < slice_states; ++i) EXPECT_EQ(slices[0].pages[i], 1u) << i;
  EXPECT_EQ(slices[0].huge, 1u);
  EXPECT_EQ(slices[0].total(), 8u);
}

TEST(MemorySlices, ATrackedPageWithoutContentIsWhatItIsWithout) {
  const auto slices =
      slice_memory(map_of({{std::uint8_t(PageMark::reclaimed | PageMark::write_tracked)}}), 1);
  EXPECT_EQ(of(slices.at(0), SliceState::reclaimed), 1u);
  EXPECT_EQ(of(slices.at(0), SliceState::tracked), 0u);
}

TEST(MemorySlices, GoAcrossHolesAndDifferByOnePageAtMost) {
  const MemoryMap map =
      map_of({std::vector<std::uint8_t>(5, 0), std::vector<std::uint8_t>(6, dirty)});
  const auto slices = slice_memory(map, 4); // from pages 0, 2, 5, 8
  ASSERT_THAT(slices, SizeIs(4));
  EXPECT_EQ(slices[0].total(), 2u);
  EXPECT_EQ(slices[1].total(), 3u);
  EXPECT_EQ(of(slices[1], SliceState::absent), 3u);
  EXPECT_EQ(of(slices[2], SliceState::dirty), 3u);
  EXPECT_EQ(of(slices[3], SliceState::dirty), 3u);
}

TEST(MemorySlices, AreNoMoreThanThereArePages) {
  EXPECT_THAT(slice_memory(map_of({{0, 0, 0}}), 512), SizeIs(3));
  EXPECT_THAT(slice_memory(map_of({}), 512), SizeIs(0));
}

TEST(MemorySlices, HaveAllPagesWhateverTheirNumber) {
  for (std::size_t pages = 1; pages < 200; pages += 7)
    for (std::size_t count = 1; count < 100; count += 3) {
      const auto slices = slice_memory(map_of({std::vector<std::uint8_t>(pages, mapped)}), count);
      std::uint32_t sum = 0;
      for (const MemorySlice& slice : slices) {
        EXPECT_GE(slice.total(), 1u) << pages << " in " << count;
        sum += slice.total();
      }
      EXPECT_EQ(sum, pages);
    }
}

} // namespace
} // namespace slat::vmm
