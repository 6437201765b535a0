// Guests of every size of memory, and what the host sees of it.
#include "machine_host.hpp"

#include "vmm/layout.hpp"
#include "vmm/storm.hpp"

#include <array>
#include <gmock/gmock.h>

namespace slat::vmm {
namespace {

using Reason = MachineEnd::Reason;

class MachineMemory : public MachineTest {};

TEST_F(MachineMemory, MemstressRunsBesideTheDeviceHoleAndTouchesOnlyWhatItTests) {
  SerialLog log;
  const bool soft = tested_accelerator() == Accel::soft; // slow, and slower under sanitizers
  auto machine = make_memstress(
      log,
      {.command_line = soft ? "mib=16 passes=1" : "mib=64 passes=1", .memory = 4 * gib, .cpus = 2});
  ASSERT_TRUE(machine);
  Storm storm(*machine, {.seed = 1, .rate = 500, .max_pages = 1 << 18});
  ASSERT_TRUE(machine->start());
  const MachineEnd end = end_of(*machine, 60);
  EXPECT_EQ(storm.finish(), "");
  EXPECT_EQ(end.reason, Reason::exited) << end.report;
  EXPECT_EQ(end.exit_code, guest::exit_good) << log.text();
  EXPECT_LT(machine->counters().sum(mmu::Counter::filled_pages), 128 * mib / 4096) << "sparse";
}

TEST_F(MachineMemory, TheSmallestMachineRunsMemstress) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "passes=1", .memory = min_ram_size});
  ASSERT_TRUE(machine && machine->start());
  const MachineEnd end = end_of(*machine, 60);
  EXPECT_EQ(end.reason, Reason::exited) << end.report;
  EXPECT_EQ(end.exit_code, guest::exit_good) << log.text();
}

TEST_F(MachineMemory, MoreToTestThanThereIsIsRefusedByTheGuest) {
  SerialLog log;
  auto machine = make_memstress(log, {.command_line = "mib=64 passes=1", .memory = 32 * mib});
  ASSERT_TRUE(machine && machine->start());
  EXPECT_EQ(end_of(*machine).exit_code, guest::exit_parameter) << log.text();
}

TEST_F(MachineMemory, TheHostReadsTheImageAndTheMailboxOfARunningGuest) {
  auto machine =
      make_machine({.kernel = memstress_image(), .command_line = "mib=8", .memory = 32 * mib});
  ASSERT_TRUE(machine && machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  // Copied, and looked at under a pin: the same bytes.
  const Gpa mailbox = machine->kernel().notes.mailbox.value();
  std::uint64_t magic = 0;
  ASSERT_TRUE(machine->ram().read(mailbox, std::as_writable_bytes(std::span(&magic, 1))));
  EXPECT_EQ(magic, guest::mailbox_magic);
  EXPECT_EQ(mailbox_of(*machine).magic, magic);
  ask_to_stop(*machine);
  EXPECT_EQ(end_of(*machine).exit_code, guest::exit_good) << "a write by the host is seen";
}

} // namespace
} // namespace slat::vmm
