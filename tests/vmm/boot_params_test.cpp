#include "vmm/boot_params.hpp"

#include "fake_guest_memory.hpp"
#include "matchers.hpp"

#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

constexpr Gpa page = boot_params_address;

TEST(BootParams, HasTheFieldsAtTheirDocumentedOffsets) {
  FakeGuestMemory memory(256 * mib);
  ASSERT_TRUE(write_boot_params(memory, {.command_line = "console=ttyS0",
                                         .initrd = GpaRange{0x2000000, 0x1234},
                                         .acpi_rsdp = 0xe0000}));
  EXPECT_EQ(memory.get<std::uint64_t>(page + 0x070), 0xe0000U);
  EXPECT_EQ(memory.get<std::uint8_t>(page + 0x1ef), 0U)
      << "the sentinel: not zero makes Linux wipe the page";
  EXPECT_EQ(memory.get<std::uint16_t>(page + 0x1fe), 0xaa55U);
  EXPECT_EQ(memory.get<std::uint32_t>(page + 0x202), 0x53726448U);
  EXPECT_GE(memory.get<std::uint16_t>(page + 0x206), 0x20cU);
  EXPECT_EQ(memory.get<std::uint8_t>(page + 0x210), 0xffU);
  EXPECT_EQ(memory.get<std::uint8_t>(page + 0x211), 1U);
  EXPECT_EQ(memory.get<std::uint32_t>(page + 0x218), 0x2000000U);
  EXPECT_EQ(memory.get<std::uint32_t>(page + 0x21c), 0x1234U);
  EXPECT_EQ(memory.get<std::uint32_t>(page + 0x228), command_line_address);
  EXPECT_EQ(memory.get<std::uint32_t>(page + 0x238), 2047U);
}

TEST(BootParams, CarriesTheMemoryMap) {
  FakeGuestMemory memory(4 * gib);
  ASSERT_TRUE(write_boot_params(memory, {}));
  const auto map = e820_map(memory.ranges());
  ASSERT_EQ(memory.get<std::uint8_t>(page + 0x1e8), map.size());
  for (std::size_t i = 0; i < map.size(); ++i) {
    const Gpa entry = page + 0x2d0 + 20 * i;
    EXPECT_EQ(memory.get<std::uint64_t>(entry), map[i].start);
    EXPECT_EQ(memory.get<std::uint64_t>(entry + 8), map[i].size);
    EXPECT_EQ(memory.get<std::uint32_t>(entry + 16), static_cast<std::uint32_t>(map[i].type));
  }
}

TEST(BootParams, WritesTheCommandLineWithItsNul) {
  FakeGuestMemory memory(16 * mib);
  const std::string longest(max_command_line, 'x');
  ASSERT_TRUE(write_boot_params(memory, {.command_line = longest}));
  EXPECT_EQ(memory.get<char>(command_line_address + 2046), 'x');
  EXPECT_EQ(memory.get<char>(command_line_address + 2047), '\0');
  ASSERT_TRUE(write_boot_params(memory, {}));
  EXPECT_EQ(memory.get<char>(command_line_address), '\0');
}

TEST(BootParams, RefusesALongCommandLine) {
  FakeGuestMemory memory(16 * mib);
  EXPECT_THAT(write_boot_params(memory, {.command_line = std::string(2048, 'x')}),
              FailsWith(Errc::invalid_argument, "2048 bytes is longer than 2047"));
  EXPECT_TRUE(memory.writes().empty());
}

TEST(BootParams, RefusesANulInTheCommandLine) {
  using namespace std::string_view_literals;
  EXPECT_THAT(check_command_line("quiet\0single"sv),
              FailsWith(Errc::invalid_argument, "NUL at byte 5"));
}

TEST(BootParams, RefusesAnInitrdOutsideLowRam) {
  FakeGuestMemory memory(5 * gib);
  for (const GpaRange initrd : {GpaRange{3 * gib - 0x1000, 0x2000}, GpaRange{4 * gib, 0x1000},
                                GpaRange{0x200000, 0}, GpaRange{UINT64_MAX - 10, 0x1000}})
    EXPECT_THAT(write_boot_params(memory, {.initrd = initrd}),
                FailsWith(Errc::invalid_argument, "initrd"));
  EXPECT_TRUE(memory.writes().empty());
}

TEST(BootParams, RefusesAMemoryMapThatDoesNotFit) {
  std::vector<GpaRange> ranges;
  for (Gpa i = 0; i < 200; ++i) ranges.push_back({i * 2 * mib, mib});
  FakeGuestMemory memory(ranges);
  EXPECT_THAT(write_boot_params(memory, {}), FailsWith(Errc::invalid_argument, "takes 128"));
}

} // namespace
} // namespace slat::vmm
