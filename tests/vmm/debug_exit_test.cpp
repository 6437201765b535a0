#include "vmm/debug_exit.hpp"

#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

void out(DebugExit& device, unsigned unit, std::uint32_t value) {
  device.write(0, unit, std::as_bytes(std::span(&value, 1)).first(unit));
}

TEST(DebugExit, HasNoCodeBeforeTheFirstWrite) {
  DebugExit device({});
  EXPECT_FALSE(device.exit_code());
  std::byte in{};
  device.read(0, 1, {&in, 1});
  EXPECT_EQ(in, std::byte{0xff});
  EXPECT_FALSE(device.exit_code());
}

TEST(DebugExit, LatchesTheFirstCodeOfEveryWidth) {
  for (const unsigned unit : {1U, 2U, 4U}) {
    std::vector<int> calls;
    DebugExit device([&](std::uint8_t code) { calls.push_back(code); });
    out(device, unit, 42);
    out(device, unit, 7);
    EXPECT_EQ(device.exit_code(), 42);
    EXPECT_EQ(calls, std::vector<int>{42});
  }
}

TEST(DebugExit, ZeroIsACode) {
  DebugExit device({});
  out(device, 1, 0);
  EXPECT_EQ(device.exit_code(), 0);
}

TEST(DebugExit, NoLargeCodeTurnsIntoSuccess) {
  for (const std::uint32_t value : {0x100U, 0x10000U, 0xffffff00U}) {
    DebugExit device({});
    out(device, 4, value);
    EXPECT_EQ(device.exit_code(), 255);
  }
}

TEST(DebugExit, AStringWriteLatchesItsFirstUnit) {
  DebugExit device({});
  const std::array<std::byte, 3> codes{std::byte{5}, std::byte{6}, std::byte{7}};
  device.write(0, 1, codes);
  EXPECT_EQ(device.exit_code(), 5);
}

TEST(DebugExit, TheCodeIsThereWhenTheCallbackRuns) {
  DebugExit* self = nullptr;
  std::optional<std::uint8_t> seen;
  DebugExit device([&](std::uint8_t) { seen = self->exit_code(); });
  self = &device;
  out(device, 1, 3);
  EXPECT_EQ(seen, 3);
}

TEST(DebugExit, OneOfManyThreadsWins) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> calls{0};
    std::atomic<int> told{-1};
    DebugExit device([&](std::uint8_t code) {
      ++calls;
      told = code;
    });
    std::vector<std::thread> threads;
    for (std::uint32_t i = 1; i <= 4; ++i)
      threads.emplace_back([&device, i] { out(device, 4, i); });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(device.exit_code(), told);
  }
}

} // namespace
} // namespace slat::vmm
