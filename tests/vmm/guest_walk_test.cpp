#include "vmm/guest_walk.hpp"

#include "fake_guest_memory.hpp"
#include "matchers.hpp"

#include <gtest/gtest.h>

namespace slat::vmm {
namespace {

constexpr PagingState long_mode{.cr0 = 0x80000001, .cr3 = 0x10000, .cr4 = 0x20, .efer = 0x500};

class GuestWalk : public ::testing::Test {
 protected:
  GuestWalk() {
    for (Gpa page = 0x10000; page < 0x16000; page += 0x1000)
      memory_.put(page, std::array<std::byte, 4096>{});
  }

  void entry(Gpa table, unsigned index, std::uint64_t value) {
    memory_.put(table + index * 8, value);
  }

  FakeGuestMemory memory_{16 * mib};
};

// 0x8080604abc: indexes 1, 2, 3, 4 and the offset 0xabc.
constexpr std::uint64_t address = (1ULL << 39) | (2ULL << 30) | (3ULL << 21) | (4ULL << 12) | 0xabc;

TEST_F(GuestWalk, FindsASmallPage) {
  entry(0x10000, 1, 0x11007);
  entry(0x11000, 2, 0x12007);
  entry(0x12000, 3, 0x13007);
  entry(0x13000, 4, 0x8000000000345063);
  EXPECT_EQ(*translate(memory_, long_mode, address), 0x345abcU);
}

TEST_F(GuestWalk, FindsLargePages) {
  entry(0x10000, 1, 0x11007);
  entry(0x11000, 2, 0x12007);
  entry(0x12000, 3, 0x600087);
  EXPECT_EQ(*translate(memory_, long_mode, address), 0x604abcU);
  entry(0x11000, 2, 0x40000087);
  EXPECT_EQ(*translate(memory_, long_mode, address), 0x40604abcU);
}

TEST_F(GuestWalk, FollowsFiveLevels) {
  PagingState paging = long_mode;
  paging.cr4 |= cr4_five_levels;
  entry(0x10000, 5, 0x11007);
  entry(0x11000, 1, 0x12007);
  entry(0x12000, 2, 0x87);
  EXPECT_EQ(*translate(memory_, paging, (5ULL << 48) | address), 0x604abcU);
}

TEST_F(GuestWalk, SaysWhichEntryIsMissing) {
  EXPECT_THAT(translate(memory_, long_mode, address),
              FailsWith(Errc::invalid_argument, "level 4 entry 0x0 at 0x10008 is not present"));
  entry(0x10000, 1, 0x11007);
  entry(0x11000, 2, 0x12006);
  EXPECT_THAT(translate(memory_, long_mode, address),
              FailsWith(Errc::invalid_argument, "level 3 entry 0x12006"));
}

TEST_F(GuestWalk, SaysWhichTableIsOutsideRam) {
  entry(0x10000, 1, 0xffffffffff007);
  EXPECT_THAT(translate(memory_, long_mode, address),
              FailsWith(Errc::out_of_guest_memory, "level 3 page table at 0xffffffffff000"));
  PagingState paging = long_mode;
  paging.cr3 = UINT64_MAX;
  EXPECT_THAT(translate(memory_, paging, address), FailsWith(Errc::out_of_guest_memory, "level 4"));
}

TEST_F(GuestWalk, EndsOnTablesThatPointToThemselves) {
  for (unsigned i = 0; i < 512; ++i) entry(0x10000, i, 0x10007);
  EXPECT_EQ(*translate(memory_, long_mode, address), 0x10abcU);
}

TEST_F(GuestWalk, RefusesWhatIsNotCanonical) {
  EXPECT_THAT(translate(memory_, long_mode, 0x800000000000),
              FailsWith(Errc::invalid_argument, "0x800000000000 is not canonical"));
  EXPECT_TRUE(is_canonical(0x7fffffffffff, false));
  EXPECT_TRUE(is_canonical(0xffff800000000000, false));
  EXPECT_FALSE(is_canonical(0xffff7fffffffffff, false));
  EXPECT_TRUE(is_canonical(0x800000000000, true));
  EXPECT_FALSE(is_canonical(0x100000000000000, true));
}

TEST_F(GuestWalk, PassesAddressesThroughWithoutPaging) {
  EXPECT_EQ(*translate(memory_, {.cr0 = 1, .cr3 = 0, .cr4 = 0, .efer = 0}, 0x100001234), 0x1234U);
}

TEST_F(GuestWalk, SaysThat32BitPagingIsNotWalked) {
  EXPECT_THAT(translate(memory_, {.cr0 = 0x80000001, .cr3 = 0, .cr4 = 0, .efer = 0}, 0x1234),
              FailsWith(Errc::invalid_argument, "32-bit paging"));
}

} // namespace
} // namespace slat::vmm
