#include "vmm/stage2_dump.hpp"

#include "stage2_fixture.hpp"
#include "vmm/layout.hpp"

#include <atomic>
#include <gmock/gmock.h>
#include <sstream>
#include <thread>

namespace slat::vmm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::uint64_t page = 4 * kib;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// The lines below the header row.
std::vector<std::string> runs_of(const std::string& text) {
  auto lines = lines_of(text);
  lines.erase(lines.begin(), lines.begin() + std::min<std::ptrdiff_t>(3, std::ssize(lines)));
  return lines;
}

TEST(Stage2Text, EmptyTableSaysThatNothingIsMapped) {
  const Stage2Fixture t;
  EXPECT_THAT(lines_of(stage2_text(*t.table)),
              ElementsAre("stage-2 table: EPT, 4 levels, 1 table page (4 KiB), dirty by D bits",
                          "mapped: 0 by 4K leaves, 0 by 2M leaves, 0 by 1G leaves",
                          "nothing is mapped"));
}

TEST(Stage2Text, ShowsLeavesOfEachSizeWithTheirPermissionsAndMarks) {
  Stage2Fixture t;
  for (unsigned i = 0; i < 3; ++i) t.map(i * page, 1, {true, true, true}, i == 1);
  t.map(4 * mib, 2, {true, false, true});
  t.map(6 * mib, 2, {true, false, true});
  t.table->age(6 * mib, 8 * mib, mmu::stage2::Age::clear);
  t.map(1 * gib, 3, {true, true, false}, true);
  EXPECT_THAT(lines_of(stage2_text(*t.table)),
              ElementsAre("stage-2 table: EPT, 4 levels, 4 table pages (16 KiB), dirty by D bits",
                          "mapped: 12K by 4K leaves, 4M by 2M leaves, 1G by 1G leaves",
                          "guest range (hex)      size leaf rwx mt accessed    dirty host (hex)",
                          "000000000-000003000     12K   4K rwx WB        3        1 1000000000",
                          "000400000-000800000      4M   2M r-x WB        1        0 1000400000",
                          "040000000-080000000      1G   1G rw- WB        1        1 1040000000"));
}

TEST(Stage2Text, RunEndsWhereHostAddressPermissionsTypeOrSizeOfLeavesChange) {
  Stage2Fixture t;
  t.map(0);
  t.map(1 * page, 1, {true, true, true}, false, page); // not adjacent in the host
  t.map(2 * page, 1, {true, false, true}, false, page);
  const auto outcome = t.table->map({.address = 3 * page,
                                     .host = t.host_base + 4 * page,
                                     .hva = 3 * page,
                                     .allowed = {true, false, true},
                                     .type = mmu::stage2::MemoryType::uncached},
                                    t.sequence, t.sequence.snapshot());
  ASSERT_EQ(outcome, MapOutcome::installed);
  t.map(5 * page, 1, {true, false, true}); // not adjacent in the guest
  EXPECT_THAT(runs_of(stage2_text(*t.table)),
              ElementsAre("000000000-000001000      4K   4K rwx WB        1        0 1000000000",
                          "000001000-000002000      4K   4K rwx WB        1        0 1000002000",
                          "000002000-000003000      4K   4K r-x WB        1        0 1000003000",
                          "000003000-000004000      4K   4K r-x UC        1        0 1000004000",
                          "000005000-000006000      4K   4K r-x WB        1        0 1000005000"));
}

TEST(Stage2Text, PagesAndAHugeLeafThatAreAdjacentHaveALineEach) {
  Stage2Fixture t;
  for (unsigned i = 0; i < 512; ++i) t.map(i * page);
  t.map(2 * mib, 2);
  EXPECT_THAT(runs_of(stage2_text(*t.table)),
              ElementsAre("000000000-000200000      2M   4K rwx WB      512        0 1000000000",
                          "000200000-000400000      2M   2M rwx WB        1        0 1000200000"));
}

TEST(Stage2Text, ExactKeepsDifferentMarksApart) {
  Stage2Fixture t;
  for (unsigned i = 0; i < 6; ++i) t.map(i * page, 1, {true, true, true}, i == 2 || i == 3);
  t.table->age(5 * page, 6 * page, mmu::stage2::Age::clear);
  EXPECT_EQ(runs_of(stage2_text(*t.table)).size(), 1U);
  EXPECT_THAT(runs_of(stage2_text(*t.table, {.exact = true})),
              ElementsAre("000000000-000002000      8K   4K rwx WB        2        0 1000000000",
                          "000002000-000004000      8K   4K rwx WB        2        2 1000002000",
                          "000004000-000005000      4K   4K rwx WB        1        0 1000004000",
                          "000005000-000006000      4K   4K rwx WB        0        0 1000005000"));
}

TEST(Stage2Text, LastLineSaysHowManyRangesWereLeftOut) {
  Stage2Fixture t;
  for (unsigned i = 0; i < 10; ++i) t.map(2 * i * page);
  EXPECT_EQ(runs_of(stage2_text(*t.table, {.max_lines = 10})).size(), 10U);
  const auto some = runs_of(stage2_text(*t.table, {.max_lines = 3}));
  ASSERT_EQ(some.size(), 4U);
  EXPECT_THAT(some[2], StartsWith("000004000-"));
  EXPECT_EQ(some[3], "... 7 more ranges");
  EXPECT_EQ(runs_of(stage2_text(*t.table, {.max_lines = 9})).back(), "... 1 more range");
  EXPECT_THAT(stage2_text(*t.table, {.max_lines = 3}), HasSubstr("mapped: 40K by 4K"))
      << "the sums are of all";
}

TEST(Stage2Text, RangeCutsWhatReachesOutOfIt) {
  Stage2Fixture t;
  t.map(0);
  t.map(2 * mib, 2);
  t.map(4 * mib, 2);
  EXPECT_THAT(runs_of(stage2_text(*t.table, {.start = 3 * mib, .end = 5 * mib})),
              ElementsAre("000300000-000500000      2M   2M rwx WB        2        0 1000300000"));
}

TEST(Stage2Text, LinesKeepTo80ColumnsWhereAddressesAreLongest) {
  constexpr std::uint64_t top = std::uint64_t(1) << 40; // the dirty log of more would be large
  constexpr std::uint64_t host_top = std::uint64_t(1) << 52;
  Stage2Fixture t({.limit = top, .levels = 5});
  for (unsigned i = 0; i < 40; ++i) // 39 GiB, and a page
    t.map(top - (40 - i) * gib, i == 39 ? 1 : 3, {true, true, true}, true,
          host_top - top - t.host_base);
  const auto lines = lines_of(stage2_text(*t.table));
  EXPECT_EQ(lines[3],
            "0f600000000-0ffc0000000     39G   1G rwx WB       39       39 ffff600000000");
  for (const std::string& line : lines) EXPECT_LE(line.size(), 80U) << line;
}

TEST(Stage2Text, EveryLineIsWellFormedWhileThreadsFaultZapSplitAndCollapse) {
  constexpr std::uint64_t size = 8 * mib;
  Stage2Fixture t({.limit = size, .entries_per_section = 256});
  std::atomic<unsigned> rounds{0};
  const std::jthread faults([&](const std::stop_token& stop) {
    for (std::uint64_t i = 0; !stop.stop_requested(); ++i) {
      const std::uint64_t at = i * 7919 % (size / page) * page;
      (void)t.table->map({.address = at,
                          .host = t.host_base + at,
                          .hva = at,
                          .allowed = {true, true, true},
                          .max_level = 1 + unsigned(i / 1024 % 2)},
                         t.sequence, t.sequence.snapshot());
      (void)t.table->access(at, i % 3 == 0);
    }
  });
  const std::jthread changes([&](const std::stop_token& stop) {
    for (std::uint64_t i = 0; !stop.stop_requested(); ++i) {
      const std::uint64_t block = i % 4 * 2 * mib;
      t.zap(block, block + (i % 3 + 1) * 512 * kib);
      const std::uint64_t split = (block + 2 * mib) % size;
      (void)t.table->split_range(split, split + 2 * mib);
      const std::uint64_t collapse = (block + 4 * mib) % size;
      (void)t.table->collapse(collapse, collapse, 2, t.sequence);
      rounds.fetch_add(1, std::memory_order_relaxed); // progress, for the loop below
    }
  });
  std::size_t runs = 0;
  for (unsigned dumps = 0; dumps < 50 || rounds.load(std::memory_order_relaxed) < 50 || runs == 0;
       ++dumps) {
    std::uint64_t before = 0;
    const std::string text = stage2_text(*t.table, {.exact = dumps % 2 == 0});
    EXPECT_EQ(text.back(), '\n');
    auto lines = lines_of(text);
    ASSERT_GE(lines.size(), 3U);
    if (lines[2] == "nothing is mapped") continue;
    lines.erase(lines.begin(), lines.begin() + 3);
    for (const std::string& line : lines) {
      ASSERT_THAT(line, testing::MatchesRegex("[0-9a-f]+-[0-9a-f]+ +[0-9]+[KM] +(4K|2M) rwx WB "
                                              "+[0-9]+ +[0-9]+ [0-9a-f]+"));
      std::istringstream words(line);
      std::string range, bytes, leaf, access, type, accessed, dirty, host;
      words >> range >> bytes >> leaf >> access >> type >> accessed >> dirty >> host;
      ASSERT_EQ(range.find('-'), 8U) << line;
      ASSERT_EQ(range.size(), 17U) << line;
      const std::uint64_t start = std::stoull(range, nullptr, 16);
      const std::uint64_t end = std::stoull(range.substr(9), nullptr, 16);
      ASSERT_GE(start, before) << line;
      ASSERT_GT(end, start) << line;
      ASSERT_LE(end, size) << line;
      ASSERT_EQ(*parse_size(bytes), end - start) << line;
      ASSERT_EQ(std::stoull(host, nullptr, 16), t.host_base + start) << line;
      before = end;
      ++runs;
    }
  }
}

} // namespace
} // namespace slat::vmm
