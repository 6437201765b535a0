// Machines made, run and destroyed: several at a time, many in a row, and some that never ran.
#include "machine_host.hpp"

#include <thread>

namespace slat::vmm {
namespace {

using Reason = MachineEnd::Reason;

class MachineLifetime : public MachineTest {};

TEST_F(MachineLifetime, TwoMachinesAtATimeKeepTheirMemoryAndCodesApart) {
  SerialLog first_log;
  SerialLog second_log;
  auto first =
      make_memstress(first_log, {.command_line = "mib=8 passes=2 seed=1", .memory = 32 << 20});
  auto second = make_memstress(
      second_log, {.command_line = "mib=8 passes=2 seed=2 corrupt=stale", .memory = 32 << 20});
  ASSERT_TRUE(first && second && first->start() && second->start());
  const MachineEnd good = end_of(*first, 60);
  const MachineEnd bad = end_of(*second, 60);
  EXPECT_EQ(good.reason, Reason::exited) << good.report;
  EXPECT_EQ(good.exit_code, guest::exit_good) << first_log.text();
  EXPECT_EQ(bad.reason, Reason::exited) << bad.report;
  EXPECT_EQ(bad.exit_code, guest::exit_mismatch) << second_log.text();
}

TEST_F(MachineLifetime, FiftyInARowLeaveNothingBehind) {
  const auto round = [](unsigned i) {
    auto machine = make_machine(
        {.kernel = hello_image(), .command_line = "exit=3", .memory = 16 << 20, .cpus = 1 + i % 2});
    ASSERT_TRUE(machine && machine->start());
    EXPECT_EQ(end_of(*machine).exit_code, 3u);
  };
  round(0); // what the libraries open once
  round(1);
  const Resources before = resources_now();
  EXPECT_EQ(before.mappings, 0u);
  for (unsigned i = 0; i < 50 && !HasFailure(); ++i) round(i);
  const Resources after = resources_now();
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.mappings, before.mappings);
  EXPECT_LE(after.threads, before.threads);
}

TEST_F(MachineLifetime, OnesThatWereNeverStartedOrFailedLeaveNothingEither) {
  (void)Machine::create({.kernel = hello_image(), .command_line = {}, .memory = 16 << 20});
  const Resources before = resources_now();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(Machine::create({.kernel = hello_image(), .command_line = {}, .memory = 16 << 20}));
    EXPECT_FALSE(
        Machine::create({.kernel = std::filesystem::path("/dev/null"), .command_line = {}}));
    EXPECT_FALSE(Machine::create({.kernel = std::filesystem::path("/none"), .command_line = {}}));
  }
  const Resources after = resources_now();
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.mappings, before.mappings);
  EXPECT_LE(after.threads, before.threads);
}

TEST_F(MachineLifetime, OneThatRunsCanBeDestroyed) {
  for (const char* line : {"spin", "exit=0"}) {
    auto machine = make_machine({.kernel = hello_image(), .command_line = line});
    ASSERT_TRUE(machine && machine->start());
    machine.reset();
  }
  EXPECT_EQ(resources_now().mappings, 0u);
}

} // namespace
} // namespace slat::vmm
