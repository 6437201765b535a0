// How many neighbours a fault brings in.
#include "vmm/fault_around.hpp"

#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

constexpr std::uintptr_t page = mmu::page_size;

std::uintptr_t pages(const FaultAround::Window& window) {
  return (window.end - window.start) / page;
}

TEST(FaultAround, BaseOneNeverBringsNeighboursNotEvenOnSequentialAccess) {
  FaultAround around(1);
  for (std::uintptr_t i = 100; i < 200; ++i) {
    const auto window = around.window(1, i * page + 5);
    EXPECT_EQ(window.start, i * page);
    EXPECT_EQ(window.end, (i + 1) * page);
  }
}

TEST(FaultAround, AFaultOutOfTheBlueGetsItsAlignedBlock) {
  for (const std::uint32_t base : {2u, 16u, 512u}) {
    FaultAround around(base);
    const std::uintptr_t address = 12345 * page + 77;
    const auto window = around.window(1, address);
    EXPECT_EQ(pages(window), base);
    EXPECT_EQ(window.start % (base * page), 0u);
    EXPECT_LE(window.start, address);
    EXPECT_GT(window.end, address);
  }
}

TEST(FaultAround, GoingOnDoublesForwardUpToTheMost) {
  FaultAround around(16);
  auto window = around.window(1, 1600 * page);
  std::uintptr_t expected = 16;
  EXPECT_EQ(pages(window), expected);
  for (int i = 0; i < 10; ++i) {
    const std::uintptr_t next = window.end;
    window = around.window(1, next + 123);
    expected = std::min<std::uintptr_t>(expected * 2, FaultAround::max_pages);
    EXPECT_EQ(window.start, next);
    EXPECT_EQ(pages(window), expected);
  }
  EXPECT_EQ(expected, FaultAround::max_pages);
}

TEST(FaultAround, AJumpStartsAgainWithTheBase) {
  FaultAround around(16);
  auto window = around.window(1, 1600 * page);
  window = around.window(1, window.end);
  EXPECT_EQ(pages(window), 32u);
  EXPECT_EQ(pages(around.window(1, window.end + page)), 16u) << "one page too far";
  EXPECT_EQ(pages(around.window(1, 1600 * page)), 16u) << "back";
}

TEST(FaultAround, EachThreadHasAStreamOfItsOwn) {
  FaultAround around(16);
  const auto first = around.window(1, 1600 * page);
  const auto second = around.window(2, 160'000 * page);
  EXPECT_EQ(pages(around.window(1, first.end)), 32u);
  EXPECT_EQ(pages(around.window(2, second.end)), 32u);
  EXPECT_EQ(pages(around.window(3, around.window(2, 32 * page).end)), 16u)
      << "another thread does not go on where this one ended";
}

TEST(FaultAround, ThreadsThatShareASlotOnlyLoseTheirGrowth) {
  FaultAround around(16);
  const auto first = around.window(1, 1600 * page);
  (void)around.window(1 + 64, 3200 * page);
  const auto window = around.window(1, first.end);
  EXPECT_EQ(pages(window), 16u);
  EXPECT_LE(window.start, first.end);
  EXPECT_GT(window.end, first.end);
}

TEST(FaultAround, AnotherBaseCountsFromTheNextFaultOn) {
  FaultAround around(16);
  (void)around.window(1, 1600 * page);
  around.set_base(64);
  EXPECT_EQ(pages(around.window(1, 64'000 * page)), 64u);
  around.set_base(1);
  EXPECT_EQ(pages(around.window(1, 6400 * page)), 1u);
}

TEST(FaultAround, AnyThreadsAtOnceGetWindowsThatHoldTheirFault) {
  FaultAround around(16);
  std::vector<std::thread> threads;
  for (std::uint32_t who = 0; who < 4; ++who)
    threads.emplace_back([&around, who] {
      std::mt19937_64 random(who);
      std::uintptr_t next = page;
      for (int i = 0; i < 20'000; ++i) {
        const std::uintptr_t address = i % 3 == 0 ? next : (random() % (1 << 30)) + page;
        const auto window = around.window(who * 64, address); // all in one slot
        ASSERT_LE(window.start, address);
        ASSERT_GT(window.end, address);
        ASSERT_LE(pages(window), FaultAround::max_pages);
        next = window.end;
        if (who == 0 && i % 1000 == 0) around.set_base(1u << (random() % 10));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

} // namespace
} // namespace slat::vmm
