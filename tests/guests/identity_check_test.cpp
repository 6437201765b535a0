#include "guests/identity_check.hpp"

#include <gtest/gtest.h>
#include <map>

namespace slat::guest {
namespace {

constexpr std::uint64_t mib = 1 << 20, gib = std::uint64_t{1} << 30;
constexpr std::uint64_t pml4 = 0x9000, pdpt = 0xa000, pd0 = 0xb000;

// 2 GiB, identity-mapped by 2 MiB pages; RAM from 2 MiB up to 1 GiB + 64 MiB is used.
class IdentityCheck : public testing::Test {
 protected:
  IdentityCheck() {
    entries_[pml4] = pdpt | 7;
    for (std::uint64_t g = 0; g < 2; ++g) {
      entries_[pdpt + g * 8] = (pd0 + g * page_size) | 7;
      for (std::uint64_t i = 0; i < 512; ++i) {
        entries_[pd0 + g * page_size + i * 8] = (g * gib + i * 2 * mib) | 0x87;
      }
    }
  }

  [[nodiscard]] MappingCheck check(std::uint64_t cr3 = pml4, unsigned levels = 4) {
    return check_identity(
        cr3, levels, end_,
        [&](std::uint64_t start, std::uint64_t bytes) {
          return start < end_ && start + bytes > 2 * mib;
        },
        [&](std::uint64_t address) { return entries_[address]; });
  }

  std::uint64_t end_ = gib + 64 * mib;
  std::map<std::uint64_t, std::uint64_t> entries_; // zero where there is none
};

TEST_F(IdentityCheck, AcceptsTheContract) {
  EXPECT_EQ(check().fault, MappingFault::none);
}

TEST_F(IdentityCheck, AcceptsFiveLevels) {
  entries_[0x8000] = pml4 | 7;
  EXPECT_EQ(check(0x8000, 5).fault, MappingFault::none);
}

TEST_F(IdentityCheck, AcceptsSmallAndHugePages) {
  entries_[pdpt + 8] = gib | 0x87;
  entries_[pd0 + 8 * 8] = 0x20000 | 7;
  for (std::uint64_t i = 0; i < 512; ++i)
    entries_[0x20000 + i * 8] = (16 * mib + i * page_size) | 7;
  EXPECT_EQ(check().fault, MappingFault::none);
  entries_[0x20000 + 77 * 8] = 0;
  EXPECT_EQ(check().fault, MappingFault::not_present);
  EXPECT_EQ(check().address, 16 * mib + 77 * page_size);
}

TEST_F(IdentityCheck, FindsAHoleOnlyWhereMemoryIsUsed) {
  entries_[pd0] = 0;
  entries_[pd0 + page_size + 8 * 100] = 0; // above the end
  EXPECT_EQ(check().fault, MappingFault::none);
  entries_[pd0 + 8] = 0;
  EXPECT_EQ(check().fault, MappingFault::not_present);
  EXPECT_EQ(check().address, 2 * mib);
}

TEST_F(IdentityCheck, FindsAMissingUpperTable) {
  entries_[pdpt + 8] = 0;
  EXPECT_EQ(check().fault, MappingFault::not_present);
  EXPECT_EQ(check().address, gib);
}

TEST_F(IdentityCheck, WantsTheUserAndWriteBitsAtEveryLevel) {
  for (const std::uint64_t entry : {pml4, pdpt, pd0 + 8 * 3}) {
    for (const std::uint64_t bit : {2u, 4u}) {
      const std::uint64_t good = entries_[entry];
      entries_[entry] = good & ~bit;
      EXPECT_EQ(check().fault, MappingFault::not_user_writable) << entry << ' ' << bit;
      entries_[entry] = good;
    }
  }
}

TEST_F(IdentityCheck, WantsIdentity) {
  entries_[pd0 + 8 * 5] = (12 * mib) | 0x87;
  EXPECT_EQ(check().fault, MappingFault::not_identity);
  EXPECT_EQ(check().address, 10 * mib);
}

TEST_F(IdentityCheck, FindsATableInTheMemoryToBeTested) {
  entries_[4 * mib] = gib | 0x87;
  for (std::uint64_t i = 1; i < 512; ++i) entries_[4 * mib + i * 8] = (gib + i * 2 * mib) | 0x87;
  entries_[pdpt + 8] = (4 * mib) | 7;
  EXPECT_EQ(check().fault, MappingFault::table_in_the_way);
  EXPECT_EQ(check().address, 4 * mib);
}

} // namespace
} // namespace slat::guest
