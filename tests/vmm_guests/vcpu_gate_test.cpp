// The gate that keeps vCPUs out while memory slots are exchanged.
#include "vmm/vcpu_gate.hpp"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

TEST(VcpuGate, ClosesAtOnceIfNobodyIsInside) {
  VcpuGate gate;
  bool kicked = false;
  gate.close([&] { kicked = true; });
  EXPECT_FALSE(kicked);
  gate.open();
  gate.enter(); // does not wait
  gate.leave();
}

TEST(VcpuGate, WaitsForThoseInsideAndTurnsOthersAway) {
  VcpuGate gate;
  std::atomic<bool> leave{false};
  std::atomic<bool> inside{false};
  std::thread vcpu([&] {
    gate.enter();
    inside = true;
    while (!leave) std::this_thread::yield();
    inside = false;
    gate.leave();
    gate.enter(); // not before open()
    inside = true;
    gate.leave();
  });
  while (!inside) std::this_thread::yield();
  gate.close([&] { leave = true; });
  EXPECT_FALSE(inside) << "close() has returned with a vCPU inside";
  gate.close([] {}); // by somebody else
  gate.open();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(inside) << "one who closed it has not opened it yet";
  gate.open();
  vcpu.join();
  EXPECT_TRUE(inside);
}

TEST(VcpuGate, WhoClosesItAllTheTimeKeepsNobodyOut) {
  VcpuGate gate;
  std::atomic<bool> done{false};
  std::atomic<unsigned> entries{0};
  std::vector<std::thread> vcpus;
  for (int i = 0; i < 3; ++i)
    vcpus.emplace_back([&] {
      while (!done) {
        gate.enter();
        ++entries;
        gate.leave();
      }
    });
  constexpr unsigned rounds = 200;
  while (entries == 0) std::this_thread::yield();
  entries = 0;
  for (unsigned i = 0; i < rounds; ++i) {
    gate.close([] {});
    std::this_thread::sleep_for(
        std::chrono::microseconds(200)); // long enough for all to be turned away
    gate.open();
  }
  // One that waits when it is opened gets in before it closes again.
  EXPECT_GE(entries, rounds / 2);
  done = true;
  for (std::thread& vcpu : vcpus) vcpu.join();
}

TEST(VcpuGate, WhatTwoClosersDoInsideIsNeverSeenHalfDone) {
  VcpuGate gate;
  std::atomic<bool> done{false};
  std::atomic<bool> kick{false};
  std::uint64_t left = 0; // plain: the gate orders vCPUs and closers (ThreadSanitizer sees it)
  std::uint64_t right = 0;
  std::mutex closers; // one at a time, as Machine::change_slot() wants it
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&] {
      while (!done) {
        gate.enter();
        do EXPECT_EQ(left, right);
        while (!kick && !done);
        gate.leave();
      }
    });
  std::vector<std::thread> changers;
  for (int i = 0; i < 2; ++i)
    changers.emplace_back([&] {
      for (int n = 0; n < 500; ++n) {
        const std::lock_guard one(closers);
        gate.close([&] { kick = true; });
        kick = false;
        ++left;
        std::this_thread::yield();
        ++right;
        gate.open();
      }
    });
  for (std::thread& changer : changers) changer.join();
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(left, 1000u);
  EXPECT_EQ(right, 1000u);
}

} // namespace
} // namespace slat::vmm
