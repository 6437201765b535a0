// The gate that keeps vCPUs out while memory slots are exchanged.
#include "vmm/vcpu_gate.hpp"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

bool never() {
  return false;
}

TEST(VcpuGate, ClosesAtOnceIfNobodyIsInside) {
  VcpuGate gate;
  bool kicked = false;
  gate.close([&] { kicked = true; });
  EXPECT_FALSE(kicked);
  gate.open();
  EXPECT_TRUE(gate.enter(never)); // does not wait
  gate.leave();
}

TEST(VcpuGate, WaitsForThoseInsideAndTurnsOthersAway) {
  VcpuGate gate;
  std::atomic<bool> leave{false};
  std::atomic<bool> inside{false};
  std::thread vcpu([&] {
    EXPECT_TRUE(gate.enter(never));
    inside = true;
    while (!leave) std::this_thread::yield();
    inside = false;
    gate.leave();
    EXPECT_TRUE(gate.enter(never)); // not before open()
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
        EXPECT_TRUE(gate.enter(never));
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
        EXPECT_TRUE(gate.enter(never));
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

TEST(VcpuGate, PausedItKeepsThemOutWhoeverOpensIt) {
  VcpuGate gate;
  gate.pause([] {});
  gate.pause([] {}); // idempotent: one resume() is enough
  EXPECT_TRUE(gate.is_paused());
  std::atomic<bool> inside{false};
  std::thread vcpu([&] {
    EXPECT_TRUE(gate.enter(never));
    inside = true;
    gate.leave();
  });
  for (int i = 0; i < 20; ++i) { // slots change meanwhile
    gate.close([] {});
    gate.open();
    EXPECT_FALSE(inside) << "open() has ended a pause";
  }
  gate.resume();
  gate.resume();
  EXPECT_FALSE(gate.is_paused());
  vcpu.join();
  EXPECT_TRUE(inside);
  EXPECT_TRUE(gate.enter([] { return true; })) << "it is open, and was opened once";
  gate.leave();
}

TEST(VcpuGate, AResumeLeavesItClosedForWhoClosedIt) {
  VcpuGate gate;
  gate.close([] {});
  gate.pause([] {});
  gate.resume();
  std::atomic<bool> opened{false};
  std::thread vcpu([&] {
    EXPECT_TRUE(gate.enter(never));
    EXPECT_TRUE(opened) << "resume() has let it in";
    gate.leave();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  opened = true;
  gate.open();
  vcpu.join();
}

TEST(VcpuGate, AStopReachesThoseWhomAPauseKeepsOut) {
  VcpuGate gate;
  gate.pause([] {});
  std::atomic<bool> stopping{false};
  std::atomic<unsigned> asked{0};
  std::vector<std::thread> vcpus;
  for (int i = 0; i < 3; ++i)
    vcpus.emplace_back([&] {
      EXPECT_FALSE(gate.enter([&] {
        ++asked;
        return stopping.load();
      }));
    });
  while (asked < 3) std::this_thread::yield();
  stopping = true;
  gate.wake();
  for (std::thread& vcpu : vcpus) vcpu.join();
  EXPECT_TRUE(gate.is_paused());
  gate.resume(); // with nobody left who would take a turn
  gate.close([] {});
  gate.open();
}

TEST(VcpuGate, AResumeEndsAPauseThatStillWaits) {
  VcpuGate gate;
  std::atomic<bool> paused{false};
  EXPECT_TRUE(gate.enter(never));
  std::thread pauser([&] { gate.pause([&] { paused = true; }); });
  while (!paused) std::this_thread::yield();
  gate.resume();
  pauser.join(); // though one is inside
  gate.leave();
}

// Pauses, changes of slots and ends, against each other for some hundred rounds. What holds at every moment: while anybody
// has it closed nobody is inside; who is to stop gets away, paused or not; and nothing waits for ever (it would time out).
TEST(VcpuGate, PausesStopsAndSlotChangesInterleaved) {
  std::mt19937 seeds(20240611);
  for (int round = 0; round < 60; ++round) {
    VcpuGate gate;
    std::atomic<bool> stopping{false};
    std::atomic<unsigned> exit_requests{0};
    std::atomic<int> guests{0}; // vCPUs inside
    const auto kick = [&] { ++exit_requests; };
    std::vector<std::thread> vcpus;
    for (int i = 0; i < 3; ++i)
      vcpus.emplace_back([&] {
        unsigned seen = 0;
        while (gate.enter([&] { return stopping.load(); })) {
          ++guests;
          while (exit_requests == seen && !stopping) std::this_thread::yield();
          seen = exit_requests;
          --guests;
          gate.leave();
          if (stopping) return;
        }
      });
    std::atomic<bool> done{false};
    std::vector<std::thread> others;
    for (int i = 0; i < 2; ++i) // who changes slots
      others.emplace_back([&] {
        while (!done) {
          gate.close(kick);
          EXPECT_EQ(guests, 0) << "a vCPU runs on what is being exchanged";
          gate.open();
          std::this_thread::yield();
        }
      });
    others.emplace_back([&, seed = seeds()] { // the control socket, the only one who resumes
      std::mt19937 random(seed);
      while (!done) {
        gate.pause(kick);
        for (unsigned i = random() % 4; i != 0; --i) {
          EXPECT_EQ(guests, 0) << "a vCPU runs while the machine is paused";
          std::this_thread::yield();
        }
        if (random() % 2 == 0) gate.pause(kick);
        gate.resume();
      }
      gate.pause(kick); // ends paused: the stop has to come through
    });
    std::this_thread::sleep_for(std::chrono::microseconds(seeds() % 3000));
    const bool stop_first = seeds() % 2 == 0;
    const auto stop = [&] {
      stopping = true;
      kick();
      gate.wake();
    };
    if (stop_first) stop();
    done = true;
    if (!stop_first) stop();
    for (std::thread& vcpu : vcpus) vcpu.join();
    for (std::thread& other : others) other.join();
    EXPECT_TRUE(gate.is_paused());
  }
}

} // namespace
} // namespace slat::vmm
