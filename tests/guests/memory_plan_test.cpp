#include "guests/memory_plan.hpp"

#include "guests/identity_check.hpp"

#include <gtest/gtest.h>
#include <map>
#include <vector>

namespace slat::guest {
namespace {

constexpr std::uint64_t mib = 1 << 20;

PlanError plan_for(const std::vector<PageRange>& ram, std::uint64_t test_pages,
                   std::uint64_t shared, std::uint64_t vcpus, MemoryPlan& plan) {
  return make_plan({ram.data(), ram.size(), test_pages, shared, vcpus}, plan);
}

// Every page of the plan, by what it is for; fails if two uses share a page or one is not RAM.
void expect_sound(const MemoryPlan& plan, const std::vector<PageRange>& ram, std::uint64_t vcpus) {
  std::map<std::uint64_t, const char*> use;
  const auto claim = [&](std::uint64_t address, std::uint64_t bytes, const char* what) {
    for (std::uint64_t a = address; a < address + bytes; a += page_size) {
      const auto [it, fresh] = use.emplace(a, what);
      ASSERT_TRUE(fresh) << what << " and " << it->second << " share " << a;
      bool is_ram = false;
      for (const PageRange& r : ram) is_ram |= a >= r.start && a < r.start + r.pages * page_size;
      ASSERT_TRUE(is_ram) << what << " outside of RAM at " << a;
      ASSERT_LT(a, plan.end);
    }
  };
  claim(plan.generations, plan.private_pages * sizeof(std::uint32_t), "generations");
  const std::uint64_t entries = plan.shared_pages * counters_per_page;
  ASSERT_GE(plan.ledger_stride, entries * sizeof(LedgerEntry));
  claim(plan.ledgers, plan.ledger_stride * vcpus, "ledgers");
  claim(plan.shared, plan.shared_pages * page_size, "shared");
  for (std::uint64_t i = 0; i < plan.private_pages && !testing::Test::HasFatalFailure(); ++i) {
    ASSERT_EQ(plan.address(i) % page_size, 0u);
    claim(plan.address(i), page_size, "private");
  }
}

TEST(MemoryPlan, UsesAllRamForDistinctPurposes) {
  const std::vector<PageRange> ram{{2 * mib, 1000}, {64 * mib, 3000}};
  MemoryPlan plan;
  ASSERT_EQ(plan_for(ram, 0, 16, 3, plan), PlanError::none);
  expect_sound(plan, ram, 3);
  // All but 16 shared pages, the table of 4000 generations (4 pages) and a ledger page per vCPU.
  EXPECT_EQ(plan.private_pages, 4000u - 16 - 4 - 3);
  EXPECT_EQ(plan.end, 64 * mib + 3000 * page_size);
}

TEST(MemoryPlan, GivesExactlyThePagesAskedFor) {
  const std::vector<PageRange> ram{{2 * mib, 1000}, {64 * mib, 3000}};
  for (const std::uint64_t pages : {256u, 990u, 1500u, 3900u}) {
    MemoryPlan plan;
    ASSERT_EQ(plan_for(ram, pages, 16, 2, plan), PlanError::none) << pages;
    EXPECT_EQ(plan.private_pages + plan.shared_pages, pages);
    expect_sound(plan, ram, 2);
  }
}

TEST(MemoryPlan, PassesOverARangeThatIsTooSmallForTheTables) {
  const std::vector<PageRange> ram{{2 * mib, 10}, {64 * mib, 3000}};
  MemoryPlan plan;
  ASSERT_EQ(plan_for(ram, 0, 16, 2, plan), PlanError::none);
  expect_sound(plan, ram, 2);
  EXPECT_EQ(plan.address(0), 2 * mib); // it still has private pages
  EXPECT_GE(plan.generations, 64 * mib);
}

TEST(MemoryPlan, SharesCoverAllPagesOnceWhateverTheNumberOfVcpus) {
  MemoryPlan plan;
  plan.private_pages = 1001;
  for (std::uint64_t n = 1; n <= max_vcpus; ++n) {
    EXPECT_EQ(plan.share_begin(0, n), 0u);
    EXPECT_EQ(plan.share_begin(n, n), 1001u);
    for (std::uint64_t v = 0; v < n; ++v)
      EXPECT_LT(plan.share_begin(v, n), plan.share_begin(v + 1, n));
  }
}

TEST(MemoryPlan, RefusesWhatDoesNotFit) {
  MemoryPlan plan;
  EXPECT_EQ(plan_for({{2 * mib, 1000}}, 1000, 16, 1, plan), PlanError::not_enough_memory);
  EXPECT_EQ(plan_for({{2 * mib, 1000}}, 10, 16, 1, plan), PlanError::not_enough_memory);
  EXPECT_EQ(plan_for({{2 * mib, 20}}, 0, 16, 4, plan), PlanError::not_enough_memory);
  EXPECT_EQ(plan_for({}, 0, 0, 1, plan), PlanError::not_enough_memory);
  const std::vector<PageRange> many(MemoryPlan::max_ranges + 1, PageRange{2 * mib, 1});
  EXPECT_EQ(plan_for(many, 0, 0, 1, plan), PlanError::too_many_ranges);
}

TEST(MemoryPlan, ClipsRangesInwardToPages) {
  EXPECT_EQ(clip(0x1001, 0x3000, 0).start, 0x2000u);
  EXPECT_EQ(clip(0x1001, 0x3000, 0).pages, 2u);
  EXPECT_EQ(clip(0x1000, 0x3000, 0x2800).start, 0x3000u);
  EXPECT_EQ(clip(0x1000, 0x3000, 0x2800).pages, 1u);
  EXPECT_EQ(clip(0x1000, 0x3000, 0x9000).pages, 0u);
  EXPECT_EQ(clip(0x1001, 0x0ffe, 0).pages, 0u);
}

TEST(MemoryPlan, KnowsWhichMemoryItUses) {
  const std::vector<PageRange> ram{{2 * mib, 512}, {8 * mib, 512}};
  MemoryPlan plan;
  ASSERT_EQ(plan_for(ram, 0, 16, 2, plan), PlanError::none);
  EXPECT_FALSE(plan_uses(plan, 0, 2 * mib));
  EXPECT_TRUE(plan_uses(plan, 0, 2 * mib + 1));
  EXPECT_TRUE(plan_uses(plan, 2 * mib, 1));
  EXPECT_TRUE(plan_uses(plan, 4 * mib - 1, 1));
  EXPECT_FALSE(plan_uses(plan, 4 * mib, 4 * mib));
  EXPECT_TRUE(plan_uses(plan, 10 * mib - 1, 1));
  EXPECT_FALSE(plan_uses(plan, 10 * mib, mib));
}

} // namespace
} // namespace slat::guest
