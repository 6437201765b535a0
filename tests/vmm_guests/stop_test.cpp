// request_stop() at every time, from everywhere.
#include "machine_host.hpp"

#include "vmm/storm.hpp"

#include <random>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

using Reason = MachineEnd::Reason;

class MachineStop : public MachineTest {};

MachineConfig endless(unsigned cpus) {
  return {.kernel = memstress_image(), .command_line = "mib=16", .memory = 64 << 20, .cpus = cpus};
}

TEST_F(MachineStop, BeforeTheStartEndsItAtOnce) {
  for (const unsigned cpus : {1u, 3u}) {
    auto machine = make_machine(endless(cpus));
    ASSERT_TRUE(machine);
    machine->request_stop();
    ASSERT_TRUE(machine->start());
    EXPECT_EQ(end_of(*machine, 10).reason, Reason::stopped);
  }
}

TEST_F(MachineStop, WhileItRuns) {
  auto machine = make_machine(endless(2));
  ASSERT_TRUE(machine && machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  machine->request_stop();
  EXPECT_EQ(end_of(*machine, 10).reason, Reason::stopped);
}

TEST_F(MachineStop, AfterTheEndChangesNothing) {
  auto machine = make_machine({.kernel = hello_image(), .command_line = "exit=9"});
  ASSERT_TRUE(machine && machine->start());
  EXPECT_EQ(end_of(*machine).exit_code, 9u);
  machine->request_stop();
  machine->request_stop();
  const MachineEnd end = end_of(*machine, 1);
  EXPECT_EQ(end.reason, Reason::exited);
  EXPECT_EQ(end.exit_code, 9u);
}

TEST_F(MachineStop, FromSeveralThreadsAtOnce) {
  for (int round = 0; round < 10; ++round) {
    auto machine = make_machine(endless(2));
    ASSERT_TRUE(machine);
    std::vector<std::thread> stoppers;
    for (int i = 0; i < 4; ++i)
      stoppers.emplace_back([&machine, wait = std::chrono::microseconds(700 * round * i)] {
        std::this_thread::sleep_for(wait);
        for (int again = 0; again < 50; ++again) machine->request_stop();
      });
    const bool started = machine->start().has_value();
    const MachineEnd end = end_of(*machine, 20);
    for (std::thread& stopper : stoppers) stopper.join();
    ASSERT_TRUE(started);
    ASSERT_EQ(end.reason, Reason::stopped) << "round " << round << '\n' << end.report;
  }
}

TEST_F(MachineStop, AtRandomTimesInAStormOfFaults) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 25; ++round) {
    MachineConfig config = endless(1 + unsigned(random() % 3));
    config.fault_threads = 1 + unsigned(random() % 2);
    config.fault_around = 1u << (random() % 6);
    auto machine = make_machine(std::move(config));
    ASSERT_TRUE(machine);
    Storm storm(*machine, {.seed = random(), .rate = 5000, .max_pages = 4096});
    ASSERT_TRUE(machine->start());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
    machine->request_stop();
    const MachineEnd end = end_of(*machine, 20);
    EXPECT_EQ(storm.finish(), "");
    ASSERT_EQ(end.reason, Reason::stopped) << "round " << round << '\n' << end.report;
  }
}

// A range in progress starves every fault in it: all vCPUs are blocked in theirs until it ends.
TEST_F(MachineStop, WhileEveryVcpuIsBlockedInAFault) {
  for (const unsigned cpus : {1u, 2u}) {
    auto machine = make_machine(endless(cpus));
    ASSERT_TRUE(machine);
    const GuestRam::Region& region = machine->ram().regions().front();
    auto scope = machine->ram().mm().notifiers().invalidate_range_start(
        {region.guest_view, region.guest_view + region.gpa.size, mmu::InvalidateEvent::zap});
    ASSERT_TRUE(scope);
    ASSERT_TRUE(machine->start());
    ASSERT_FALSE(machine->wait_for(std::chrono::milliseconds(100))) << "nothing can have run";
    EXPECT_GT(machine->counters().sum(mmu::Counter::fault_wait_count), 0u);
    machine->request_stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    scope->end();
    const MachineEnd end = end_of(*machine, 10);
    EXPECT_EQ(end.reason, Reason::stopped) << end.report;
  }
}

} // namespace
} // namespace slat::vmm
