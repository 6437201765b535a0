#include "vmm/memory_picture.hpp"

#include "mmu/zero_source.hpp"
#include "stage2_fixture.hpp"
#include "vmm/layout.hpp"
#include "xml_check.hpp"

#include <gmock/gmock.h>
#include <random>

namespace slat::vmm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t page = 4 * kib;
constexpr auto resident = PageMark::resident;
constexpr auto mapped = std::uint8_t(resident | PageMark::mapped);
constexpr auto young = std::uint8_t(mapped | PageMark::young);
constexpr auto dirty = std::uint8_t(young | PageMark::dirty);

// ---- collecting

struct Ram {
  std::vector<GuestRam::Region> regions;
  mmu::VmaViews views; // one for each

  void add(Gpa start, std::uint64_t pages) {
    mmu::BackingRef backing(
        *mmu::Backing::create("picture", pages * page, std::make_unique<mmu::ZeroSource>()));
    const std::uintptr_t view = 0x7000'0000'0000 + start;
    views.push_back({.start = view, .end = view + pages * page, .backing = backing.get()});
    regions.push_back({{start, pages * page}, GuestRam::ViewAddress(view), std::move(backing)});
  }

  void set(std::size_t region, std::uint64_t at, mmu::PageState state, std::uint64_t flags = 0) {
    mmu::PageWord& word = regions[region].backing->word(at);
    mmu::PageState was{};
    ASSERT_EQ(word.claim_fill(was), mmu::FillClaim::claimed);
    if (state == mmu::PageState::filling) return;
    word.finish_fill(state);
    word.set_flags(flags);
  }
};

TEST(MemoryMap, WithoutATableItHasWhatPageWordsSay) {
  using mmu::PageBits;
  using mmu::PageState;
  Ram ram;
  ram.add(0, 8);
  ram.set(0, 1, PageState::filling);
  ram.set(0, 2, PageState::present);
  ram.set(0, 3, PageState::present, PageBits::installed);
  ram.set(0, 4, PageState::present, PageBits::installed | PageBits::accessed);
  ram.set(0, 5, PageState::present, PageBits::installed | PageBits::accessed | PageBits::dirty);
  ram.set(0, 6, PageState::reclaimed);
  ram.set(0, 7, PageState::poisoned);
  const MemoryMap map = collect_memory_map(ram.regions, ram.views, nullptr);
  EXPECT_FALSE(map.from_table);
  ASSERT_EQ(map.parts.size(), 1U);
  EXPECT_THAT(map.parts[0].pages, ElementsAre(0, 0, resident, mapped, young, dirty,
                                              PageMark::reclaimed, PageMark::poisoned));
  ram.regions[0].backing->word(1).finish_fill(PageState::none);
}

TEST(MemoryMap, WithATableItHasWhatTheTableSaysAboutMappings) {
  using mmu::PageBits;
  using mmu::PageState;
  Stage2Fixture t;
  Ram ram;
  ram.add(0, 1024);
  ram.add(4 * gib, 4);
  ram.set(0, 0, PageState::present, PageBits::installed | PageBits::accessed | PageBits::dirty);
  ram.set(0, 1, PageState::present);
  t.map(1 * page);
  ram.set(0, 2, PageState::reclaimed); // and back, before the table was read
  t.map(2 * page, 1, {true, true, true}, true);
  t.map(2 * mib, 2);
  t.table->age(2 * mib, 4 * mib, mmu::stage2::Age::clear);
  t.map(4 * gib + 3 * page);
  ram.set(1, 0, PageState::poisoned);
  ram.set(1, 3, PageState::present, PageBits::write_tracked);
  const MemoryMap map = collect_memory_map(ram.regions, ram.views, t.table.get());
  EXPECT_TRUE(map.from_table);
  ASSERT_EQ(map.parts.size(), 2U);
  const auto& low = map.parts[0].pages;
  EXPECT_EQ(low[0], resident) << "flags of page words are not the table's";
  EXPECT_EQ(low[1], young);
  EXPECT_EQ(low[2], dirty);
  EXPECT_EQ(low[3], 0);
  EXPECT_EQ(low[511], 0);
  EXPECT_EQ(low[512], mapped | PageMark::huge);
  EXPECT_EQ(low[1023], mapped | PageMark::huge);
  EXPECT_EQ(map.parts[1].start, 4 * gib);
  EXPECT_THAT(map.parts[1].pages,
              ElementsAre(PageMark::poisoned, 0, 0, young | PageMark::write_tracked));
  ASSERT_EQ(map.huge.size(), 1U);
  EXPECT_EQ(map.huge[0].start, 2 * mib);
  EXPECT_EQ(map.huge[0].size, 2 * mib);
}

// ---- drawing

/// What is between `before` and `after`, or "" if they are not there.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const std::size_t start = text.find(before);
  if (start == std::string::npos) return {};
  const std::size_t end = text.find(after, start + before.size());
  return text.substr(start + before.size(), end - start - before.size());
}

/// The path of a state's cells.
std::string path_of(const std::string& svg, const std::string& id) {
  return between(between(svg, "<path id=\"" + id + "\"", "/>"), " d=\"", "\"");
}

std::uint64_t pages_of(const std::string& svg, const std::string& id) {
  const std::string text = between(svg, "id=\"pages-" + id + "\"", "</text>");
  return text.empty() ? 0 : std::stoull(text.substr(text.find('>') + 1));
}

MemoryMap map_of(std::uint64_t pages, std::uint8_t marks = 0) {
  return {.parts = {{0, std::vector<std::uint8_t>(pages, marks)}}, .huge = {}, .from_table = true};
}

std::string draw(const MemoryMap& map) {
  const std::string svg = memory_picture_svg(map, {.title = "test", .time = "12:00:00"});
  EXPECT_EQ(xml_complaint(svg), "");
  return svg;
}

const std::vector<std::pair<std::string, std::uint8_t>> states{{"not_resident", 0},
                                                               {"unmapped", resident},
                                                               {"mapped", mapped},
                                                               {"young", young},
                                                               {"dirty", dirty},
                                                               {"reclaimed", PageMark::reclaimed},
                                                               {"poisoned", PageMark::poisoned}};

TEST(MemoryPicture, EachStateHasAColourOfItsOwnAndItsCellsAreDrawnInIt) {
  std::vector<std::string> colours;
  for (const auto& [id, marks] : states) {
    MemoryMap map = map_of(1024, id == "dirty" ? young : dirty); // 32 by 32
    map.parts[0].pages[33] = marks;
    const std::string svg = draw(map);
    EXPECT_EQ(path_of(svg, id), "M1 1h1") << id;
    const std::string colour(colour_of(memory_state(marks)));
    EXPECT_THAT(between(svg, "<path id=\"" + id + "\"", "/>"), HasSubstr(colour));
    EXPECT_THAT(colours, Not(::testing::Contains(colour)));
    colours.push_back(colour);
  }
}

TEST(MemoryPicture, AdjacentCellsOfAColourAreOneRun) {
  MemoryMap map = map_of(1024);
  std::fill_n(map.parts[0].pages.begin() + 30, 4, dirty);
  const std::string svg = draw(map);
  EXPECT_EQ(path_of(svg, "dirty"), "M30 0h2M0 1h2");
  EXPECT_EQ(path_of(svg, "not_resident").substr(0, 13), "M0 0h30M2 1h3");
}

TEST(MemoryPicture, LegendCountsEachPageOnce) {
  MemoryMap map = map_of(10'000);
  map.parts.push_back({4 * gib, std::vector<std::uint8_t>(777)});
  std::mt19937 random(1);
  std::map<std::string, std::uint64_t> expected;
  for (MemoryMap::Part& part : map.parts)
    for (std::uint8_t& marks : part.pages) {
      const auto& [id, value] = states[random() % states.size()];
      marks = value;
      ++expected[id];
    }
  const std::string svg = draw(map);
  std::uint64_t sum = 0;
  for (const auto& [id, marks] : states) {
    EXPECT_EQ(pages_of(svg, id), expected[id]) << id;
    sum += pages_of(svg, id);
  }
  EXPECT_EQ(sum, 10'777U);
  EXPECT_EQ(pages_of(svg, "all"), 10'777U);
  EXPECT_THAT(svg, HasSubstr(">42.10<")) << "MiB of all";
}

TEST(MemoryPicture, MixedCellHasTheColourOfMostOfItsPages) {
  MemoryMap map = map_of(1024 * 256 * 4, young); // four pages to a cell
  auto& pages = map.parts[0].pages;
  std::fill_n(pages.begin(), 3, resident);               // cell 0: 3 of 4
  std::fill_n(pages.begin() + 8, 2, PageMark::poisoned); // cell 2: half: young comes later
  std::fill_n(pages.begin() + 16, 2, dirty);             // cell 4: half: dirty comes later
  pages[20] = dirty;                                     // cell 5: 1 of 4
  const std::string svg = draw(map);
  EXPECT_EQ(path_of(svg, "unmapped"), "M0 0h1");
  EXPECT_EQ(path_of(svg, "poisoned"), "");
  EXPECT_EQ(path_of(svg, "dirty"), "M4 0h1");
  EXPECT_THAT(svg, HasSubstr("one cell = 16K, one row = 4M; a cell has the colour of most"));
  EXPECT_EQ(pages_of(svg, "poisoned"), 2U) << "the legend counts pages, not cells";
}

TEST(MemoryPicture, DeviceHoleIsALabelledGap) {
  MemoryMap map = map_of(64, dirty);
  map.parts[0].start = 3 * gib - 64 * page;
  map.parts.push_back({4 * gib, std::vector<std::uint8_t>(64, dirty)});
  const std::string svg = draw(map); // 32 cells of 16 pixels a row, the gap two rows
  EXPECT_EQ(path_of(svg, "dirty"), "M0 0h32M0 1h32M0 4h32M0 5h32");
  EXPECT_THAT(svg, HasSubstr(">hole: 0xc0000000-0x100000000, 1G<"));
  EXPECT_THAT(svg, HasSubstr(">0xbffc0000<"));
  EXPECT_THAT(svg, HasSubstr(">0x100000000<"));
  EXPECT_THAT(draw(map_of(64)), Not(HasSubstr("hole:")));
}

TEST(MemoryPicture, RowsBeginAtRoundAddressesAndSomeAreLabelled) {
  MemoryMap map = map_of(128 * 128, dirty); // 128 by 128: 512 KiB a row
  map.parts[0].start = gib + 3 * page;
  const std::string svg = draw(map);
  EXPECT_THAT(path_of(svg, "dirty"), ::testing::StartsWith("M3 0h125M0 1h128"));
  EXPECT_THAT(path_of(svg, "dirty"), ::testing::EndsWith("M0 128h3"));
  EXPECT_THAT(svg, HasSubstr(">0x40000000<"));
  EXPECT_THAT(svg, HasSubstr(">0x40800000<"));
  EXPECT_THAT(svg, Not(HasSubstr(">0x40100000<")));
}

TEST(MemoryPicture, HugeLeavesAreOutlined) {
  MemoryMap map = map_of(256 * 1024, resident);
  map.huge = {{2 * mib, 2 * mib}, {4 * mib, 2 * mib}};
  std::fill_n(map.parts[0].pages.begin() + 512, 1024, std::uint8_t(young | PageMark::huge));
  const std::string svg = draw(map);
  EXPECT_EQ(path_of(svg, "huge"), "M0 2h256v2h-256zM0 4h256v2h-256z");
  EXPECT_EQ(pages_of(svg, "huge"), 1024U);
}

TEST(MemoryPicture, HugeLeavesOfFewCellsAreOutlinedTogether) {
  MemoryMap map = map_of(16ULL * 1024 * 1024, resident); // 64 GiB: 64 pages, 256 KiB a cell
  for (Gpa at = 2 * mib; at < 66 * mib; at += 2 * mib) map.huge.push_back({at, 2 * mib});
  map.huge.push_back({70 * mib, 2 * mib});
  EXPECT_EQ(path_of(draw(map), "huge"), "M8 0h248v1h-248zM0 1h8v1h-8zM24 1h8v1h-8z");
}

TEST(MemoryPicture, WithoutATableItSaysWhereItIsFrom) {
  MemoryMap map = map_of(1024, dirty);
  EXPECT_THAT(draw(map), Not(HasSubstr("page words alone")));
  map.from_table = false;
  const std::string svg = draw(map);
  EXPECT_THAT(svg, HasSubstr("page words alone"));
  EXPECT_THAT(svg, Not(HasSubstr("huge")));
}

TEST(MemoryPicture, TitleAndTimeAreTextWhateverIsInThem) {
  const std::string svg =
      memory_picture_svg(map_of(1024), {.title = "a <b> & \"c\"\n\x7f\xff", .time = "</text>"});
  EXPECT_EQ(xml_complaint(svg), "");
  EXPECT_THAT(svg, HasSubstr(">a &lt;b&gt; &amp; &quot;c&quot;???: 4M of guest memory<"));
  EXPECT_THAT(svg, HasSubstr(">sampled &lt;/text&gt;<"));
}

TEST(MemoryPicture, NoMemoryIsAPictureToo) {
  EXPECT_EQ(pages_of(draw({}), "all"), 0U);
  EXPECT_EQ(pages_of(draw(map_of(0)), "all"), 0U);
}

TEST(MemoryPicture, RandomStatesOf512MiBAreLessThan2MiBOfFile) {
  MemoryMap map = map_of(512 * mib / page);
  std::mt19937 random(2);
  for (std::uint8_t& marks : map.parts[0].pages) marks = states[random() % states.size()].second;
  EXPECT_LT(draw(map).size(), 2 * mib);
}

TEST(MemoryPicture, GridOfTheLargestGuestStaysWithinItsBounds) {
  MemoryMap map = map_of(3 * gib / page, dirty);
  map.parts.push_back({4 * gib, std::vector<std::uint8_t>((max_ram_size - 3 * gib) / page, dirty)});
  const std::string svg = draw(map);
  EXPECT_THAT(svg, HasSubstr("one cell = 256K, one row = 64M"));
  EXPECT_THAT(path_of(svg, "dirty"), HasSubstr("h256"));
  const std::string height = between(svg, " height=\"", "\"");
  EXPECT_LT(std::stoull(height), 3 * 1024 + 400U);
}

} // namespace
} // namespace slat::vmm
