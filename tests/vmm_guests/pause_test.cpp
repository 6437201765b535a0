// pause() and resume(), and all that can come in between.
#include "machine_host.hpp"

#include "vmm/storm.hpp"

#include <random>
#include <thread>

namespace slat::vmm {
namespace {

using Reason = MachineEnd::Reason;

class MachinePause : public MachineTest {};

MachineConfig endless_in_slots(unsigned cpus) {
  return {.kernel = memstress_image(),
          .command_line = "mib=16",
          .memory = 64 << 20,
          .memory_slot = 16 << 20,
          .spare_memory = 4 << 20,
          .cpus = cpus};
}

std::uint64_t accesses_of(Machine& machine) {
  std::uint64_t sum = 0;
  for (const guest::VcpuSlot& slot : mailbox_of(machine).slots) sum += slot.accesses;
  return sum;
}

/// Sleeps until the guest has done more than `before`; false if it has not after 20 s.
bool goes_on(Machine& machine, std::uint64_t before) {
  for (int i = 0; i < 4000; ++i) {
    if (accesses_of(machine) > before) return true;
    if (machine.wait_for(std::chrono::milliseconds(5))) return false;
  }
  return false;
}

TEST_F(MachinePause, TheGuestStandsStillUntilResumeWhileAStormGoesOn) {
  auto machine = make_machine(endless_in_slots(2));
  ASSERT_TRUE(machine);
  ASSERT_TRUE(machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  Storm storm(*machine,
              {.rate = 20000,
               .kinds = {StormKind::zap, StormKind::slots, StormKind::move, StormKind::migrate}});
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(goes_on(*machine, accesses_of(*machine)));
    machine->pause();
    machine->pause();
    EXPECT_TRUE(machine->is_paused());
    const std::uint64_t accesses = accesses_of(*machine);
    const std::uint64_t ranges = storm.ranges();
    while (storm.ranges() < ranges + 50) std::this_thread::yield(); // slots come and go
    EXPECT_EQ(accesses_of(*machine), accesses);
    machine->resume();
    EXPECT_FALSE(machine->is_paused());
  }
  EXPECT_EQ(storm.finish(), "");
  ask_to_stop(*machine);
  const MachineEnd end = end_of(*machine);
  EXPECT_EQ(end.reason, Reason::exited) << end.report;
  EXPECT_EQ(end.exit_code, guest::exit_good);
}

TEST_F(MachinePause, AStopEndsAPausedMachine) {
  for (const unsigned cpus : {1u, 3u}) {
    auto machine = make_machine(endless_in_slots(cpus));
    ASSERT_TRUE(machine && machine->start());
    ASSERT_TRUE(wait_until_running(*machine));
    machine->pause();
    machine->request_stop();
    EXPECT_EQ(end_of(*machine, 20).reason, Reason::stopped);
    machine->pause(); // of no use, and no harm
    machine->resume();
  }
}

TEST_F(MachinePause, APausedMachineCanBeDestroyed) {
  auto machine = make_machine(endless_in_slots(2));
  ASSERT_TRUE(machine && machine->start());
  machine->pause();
  machine.reset();
}

TEST_F(MachinePause, OneThatIsPausedBeforeItsStartWaits) {
  auto machine = make_machine({.kernel = hello_image(), .command_line = "exit=9"});
  ASSERT_TRUE(machine);
  machine->pause();
  ASSERT_TRUE(machine->start());
  EXPECT_FALSE(machine->wait_for(std::chrono::milliseconds(50))) << "it has run";
  EXPECT_EQ(machine->accelerator().fault_count(), 0u);
  machine->resume();
  EXPECT_EQ(end_of(*machine).exit_code, 9u);
}

TEST_F(MachinePause, AtRandomTimesWithStopsAndTheEndInAStormOfSlotChanges) {
  std::mt19937 random(20240612);
  for (int round = 0; round < 15; ++round) {
    MachineConfig config = endless_in_slots(1 + unsigned(random() % 3));
    if (round % 3 == 0) config.command_line += " passes=1";
    auto machine = make_machine(std::move(config));
    ASSERT_TRUE(machine);
    Storm storm(*machine,
                {.seed = random(), .rate = 5000, .kinds = {StormKind::slots, StormKind::zap}});
    ASSERT_TRUE(machine->start());
    std::atomic<bool> done{false};
    std::thread pauser([&, seed = random()] {
      std::mt19937 times(seed);
      while (!done) {
        machine->pause();
        std::this_thread::sleep_for(std::chrono::microseconds(times() % 2000));
        if (times() % 8 != 0) machine->resume();
        std::this_thread::sleep_for(std::chrono::microseconds(times() % 2000));
      }
      machine->pause();
    });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
    done = random() % 2 == 0; // else the stop finds it anywhere
    machine->request_stop();
    const MachineEnd end = end_of(*machine, 20);
    done = true;
    pauser.join();
    EXPECT_EQ(storm.finish(), "");
    ASSERT_TRUE(end.reason == Reason::stopped || end.reason == Reason::exited) << end.report;
  }
}

} // namespace
} // namespace slat::vmm
