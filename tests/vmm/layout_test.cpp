#include "vmm/layout.hpp"

#include "fake_guest_memory.hpp"
#include "matchers.hpp"

#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

TEST(ParseSize, ReadsBytesAndEverySuffixInEitherCase) {
  EXPECT_EQ(*parse_size("0"), 0U);
  EXPECT_EQ(*parse_size("4096"), 4096U);
  EXPECT_EQ(*parse_size("512K"), 512 * kib);
  EXPECT_EQ(*parse_size("256M"), 256 * mib);
  EXPECT_EQ(*parse_size("3g"), 3 * gib);
  EXPECT_EQ(*parse_size("1T"), 1024 * gib);
  EXPECT_EQ(*parse_size("18446744073709551615"), UINT64_MAX);
}

TEST(ParseSize, RefusesWhatIsNoSizeAndNamesIt) {
  for (const char* text :
       {"x", "M", "-1", "+1", "1.5G", "1MB", "1 M", " 1M", "0x100", "1Q", "256MM"})
    EXPECT_THAT(parse_size(text), FailsWith(Errc::invalid_argument, "'" + std::string(text) + "'"));
  EXPECT_THAT(parse_size(""), FailsWith(Errc::invalid_argument, "''"));
  EXPECT_THAT(parse_size("1\n"), FailsWith(Errc::invalid_argument, "'1?'"));
}

TEST(ParseSize, CatchesOverflowInTheDigitsAndInTheSuffix) {
  for (const char* text :
       {"18446744073709551616", "99999999999999999999999", "16777216T", "17179869184G"})
    EXPECT_THAT(parse_size(text), FailsWith(Errc::invalid_argument, "64 bits"));
  EXPECT_EQ(*parse_size("16777215T"), 16777215ULL << 40);
}

TEST(ParseRamSize, TakesTheMinimumAndTheMaximum) {
  EXPECT_EQ(*parse_ram_size("4M"), min_ram_size);
  EXPECT_EQ(*parse_ram_size("64G"), max_ram_size);
  EXPECT_EQ(*parse_ram_size("4100K"), 4100 * kib);
}

TEST(ParseRamSize, SaysTheMultipleAndTheNextOneUp) {
  EXPECT_THAT(parse_ram_size("5000001"), FailsWith(Errc::invalid_argument, "multiple of 4 KiB"));
  EXPECT_THAT(parse_ram_size("4194305"), FailsWith(Errc::invalid_argument, "4100K"));
}

TEST(ParseRamSize, SaysTheLimits) {
  EXPECT_THAT(parse_ram_size("4092K"),
              FailsWith(Errc::invalid_argument, "too small; give a size from 4M to 64G"));
  EXPECT_THAT(parse_ram_size("0"), FailsWith(Errc::invalid_argument, "too small"));
  EXPECT_THAT(parse_ram_size("65537M"), FailsWith(Errc::invalid_argument, "too large"));
  EXPECT_THAT(parse_ram_size("16777215T"), FailsWith(Errc::invalid_argument, "too large"));
  EXPECT_THAT(parse_ram_size("many"), FailsWith(Errc::invalid_argument, "'many'"));
}

TEST(FormatSize, IsReadBackByParseSize) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, 4 * kib, 4100 * kib,
                                   256 * mib, 3 * gib, 2048 * gib, UINT64_MAX})
    EXPECT_EQ(*parse_size(format_size(size)), size);
  EXPECT_EQ(format_size(256 * mib), "256M");
}

TEST(RamLayout, KeepsRamOutOfTheDeviceHole) {
  const auto small = ram_layout(256 * mib);
  ASSERT_EQ(small.size(), 1U);
  EXPECT_EQ(small[0].start, 0U);
  EXPECT_EQ(small[0].size, 256 * mib);

  EXPECT_EQ(ram_layout(3 * gib).size(), 1U);

  const auto large = ram_layout(3 * gib + 4 * kib);
  ASSERT_EQ(large.size(), 2U);
  EXPECT_EQ(large[0].size, 3 * gib);
  EXPECT_EQ(large[1].start, 4 * gib);
  EXPECT_EQ(large[1].size, 4 * kib);
}

void expect_e820_of(std::uint64_t size) {
  SCOPED_TRACE(size);
  const auto ram = ram_layout(size);
  const auto map = e820_map(ram);
  Gpa last = 0;
  std::uint64_t usable = 0;
  std::uint64_t reserved = 0;
  for (const auto& entry : map) {
    EXPECT_GE(entry.start, last);
    EXPECT_GT(entry.size, 0U);
    last = entry.start + entry.size;
    if (entry.type == E820Type::reserved) {
      reserved += entry.size;
      continue;
    }
    usable += entry.size;
    EXPECT_TRUE(contains(ram, entry.start, entry.size));
  }
  EXPECT_EQ(reserved, high_ram_start - low_ram_end);
  EXPECT_EQ(usable + reserved, size);
}

TEST(E820, TellsOfAllRamButTheReservedPartBelowOneMebibyte) {
  for (const auto size : {min_ram_size, 256 * mib, 3 * gib, 3 * gib + 4 * kib, max_ram_size})
    expect_e820_of(size);
}

TEST(E820, HasTheDocumentedEntries) {
  const auto map = e820_map(ram_layout(4 * gib));
  ASSERT_EQ(map.size(), 4U);
  EXPECT_EQ(map[0].start, 0U);
  EXPECT_EQ(map[0].size, 0x9fc00U);
  EXPECT_EQ(map[1].start, 0x9fc00U);
  EXPECT_EQ(map[1].type, E820Type::reserved);
  EXPECT_EQ(map[2].start, 0x100000U);
  EXPECT_EQ(map[2].size, 3 * gib - mib);
  EXPECT_EQ(map[3].start, 4 * gib);
  EXPECT_EQ(map[3].size, gib);
}

TEST(Contains, HoldsAtBothEndsAndAcrossTouchingRanges) {
  const std::vector<GpaRange> ram{{0x1000, 0x1000}, {0x2000, 0x1000}, {0x8000, 0x1000}};
  EXPECT_TRUE(contains(ram, 0x1000, 0x2000));
  EXPECT_TRUE(contains(ram, 0x1fff, 2));
  EXPECT_TRUE(contains(ram, 0x8fff, 1));
  EXPECT_FALSE(contains(ram, 0xfff, 1));
  EXPECT_FALSE(contains(ram, 0x1000, 0x2001));
  EXPECT_FALSE(contains(ram, 0x8fff, 2));
  EXPECT_FALSE(contains(ram, 0x7000, 0x2000));
  EXPECT_FALSE(contains(ram, 0x8000, UINT64_MAX));
  EXPECT_FALSE(contains(ram, UINT64_MAX, 2));
  EXPECT_FALSE(contains({}, 0, 1));
}

TEST(Layout, LowStructuresDoNotOverlap) {
  EXPECT_LT(gdt_address + guest_page_size, boot_params_address);
  EXPECT_LE(boot_params_address + guest_page_size, command_line_address);
  EXPECT_LE(command_line_address + 2048, page_tables_address);
  EXPECT_LE(page_tables_end, low_ram_end);
}

} // namespace
} // namespace slat::vmm
