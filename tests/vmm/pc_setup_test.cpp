#include "vmm/pc_setup.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

namespace slat::vmm {
namespace {

kvm_cpuid_entry2 leaf(std::uint32_t function, std::uint32_t index = 0) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  return entry;
}

class PcSetupTest : public ::testing::Test {
 protected:
  void show(unsigned index, unsigned count, bool deadline = true) {
    cpuid_ = {leaf(1),          leaf(4),          leaf(4, 3),       leaf(0xb),       leaf(0xb, 1),
              leaf(0x80000001), leaf(0x80000008), leaf(0x8000001e), leaf(0x40000000)};
    cpuid_[1].eax = 1U << 5 | 1; // level 1, data
    cpuid_[2].eax = 3U << 5 | 3; // level 3, unified
    cpuid_[6].ecx = 0xf0ff;
    show_pc(cpuid_, index, count, deadline);
  }

  const kvm_cpuid_entry2& at(std::uint32_t function, std::uint32_t index = 0) {
    const auto found = std::ranges::find_if(cpuid_, [&](const kvm_cpuid_entry2& entry) {
      return entry.function == function && entry.index == index;
    });
    if (found == cpuid_.end()) std::abort();
    return *found;
  }

  std::vector<kvm_cpuid_entry2> cpuid_;
};

TEST_F(PcSetupTest, ProcessorsAreCoresOfOneSocket) {
  show(2, 3);
  EXPECT_EQ(at(0xb, 0).ebx, 1U);
  EXPECT_EQ(at(0xb, 0).eax, 0U) << "no threads";
  EXPECT_EQ(at(0xb, 1).ebx, 3U);
  EXPECT_EQ(at(0xb, 1).eax, 2U) << "two bits of APIC id tell three cores apart";
  EXPECT_EQ(at(0xb, 2).ecx >> 8, 0U) << "the end";
  for (std::uint32_t level = 0; level < 3; ++level) EXPECT_EQ(at(0xb, level).edx, 2U);
  EXPECT_EQ(at(4, 0).eax >> 26, 2U);
  EXPECT_EQ(at(4, 0).eax >> 14 & 0xfff, 0U) << "a cache of its own";
  EXPECT_EQ(at(4, 3).eax >> 14 & 0xfff, 2U) << "shared by all";
  EXPECT_EQ(at(0x80000008).ecx, 2U | 2U << 12);
  EXPECT_EQ(at(0x8000001e).eax, 2U);
  EXPECT_NE(at(1).edx & 1U << 28, 0U);
  EXPECT_NE(at(0x80000001).ecx & 2U, 0U);
}

TEST_F(PcSetupTest, OneProcessorHasNoNeighbours) {
  show(0, 1, false);
  EXPECT_EQ(at(0xb, 1).ebx, 1U);
  EXPECT_EQ(at(0xb, 1).eax, 0U);
  EXPECT_EQ(at(0x80000008).ecx, 0U);
  EXPECT_EQ(at(1).edx & 1U << 28, 0U);
  EXPECT_EQ(at(1).ecx & 1U << 24, 0U) << "no timer by deadline here";
  EXPECT_NE(at(1).ecx & 1U << 31, 0U)
      << "Linux looks for KVM's clock only where there is a hypervisor";
}

TEST_F(PcSetupTest, OtherLeavesAreLeftAlone) {
  show(0, 2);
  EXPECT_EQ(std::ranges::count(cpuid_, 0x40000000U, &kvm_cpuid_entry2::function), 1);
  EXPECT_EQ(std::ranges::count(cpuid_, 0xbU, &kvm_cpuid_entry2::function), 3);
}

} // namespace
} // namespace slat::vmm
