// A page whose source has failed, under a running guest.
#include "machine_host.hpp"
#include "vmm/layout.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace slat::vmm {
namespace {

using PoisonTest = MachineTest;

// Which of the two ends a vCPU, the kick or SIGBUS out of KVM_RUN, is a race: the next test has the latter alone.
TEST_F(PoisonTest, I41_a_poisoned_page_ends_the_run_with_a_report_and_never_reads_as_zeroes) {
  for (int round = 0; round < 3; ++round) {
    MachineConfig config;
    config.kernel = memstress_image();
    config.command_line = "mib=16 passes=2";
    config.memory = 32 * mib;
    config.cpus = 2;
    const auto machine = make_machine(std::move(config));
    ASSERT_NE(machine, nullptr);
    mmu::Backing& backing = *machine->ram().regions().front().backing;
    mmu::PageState was{};
    const std::uint64_t page = (machine->kernel().image_end + 4 * mib) >> mmu::page_shift;
    ASSERT_EQ(backing.word(page).claim_fill(was), mmu::FillClaim::claimed);
    backing.word(page).finish_fill(mmu::PageState::poisoned);

    ASSERT_TRUE(machine->start());
    const MachineEnd end = end_of(*machine);
    EXPECT_EQ(end.reason, MachineEnd::Reason::crashed);
    EXPECT_THAT(end.report, testing::HasSubstr("poisoned"));
  }
}

/// Sends the signal to every vCPU's thread of this process; how many there were.
int signal_vcpus(int number) {
  int sent = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::ifstream(task.path() / "comm") >> name;
    if (name.starts_with("slat-vcpu-") &&
        syscall(SYS_tgkill, getpid(), std::stoi(task.path().filename()), number) == 0)
      ++sent;
  }
  return sent;
}

// As KVM_RUN does where a vCPU meets a page that another one's fault has found poisoned.
TEST_F(PoisonTest, I41_sigbus_in_a_vcpu_leaves_the_guest_and_not_the_process) {
  if (tested_accelerator() == Accel::soft)
    GTEST_SKIP() << "a software vCPU meets a poisoned page in the fault path, not as SIGBUS";
#ifdef SLAT_TSAN // It runs the handler of SIGBUS at once, also inside itself, where the handler's atomic waits for ever.
  GTEST_SKIP()
      << "ThreadSanitizer's own locks are not safe against a SIGBUS that comes at any time";
#endif
  MachineConfig config;
  config.kernel = memstress_image();
  config.command_line = "mib=8 passes=1000000";
  config.memory = 32 * mib;
  config.cpus = 2;
  const auto machine = make_machine(std::move(config));
  ASSERT_NE(machine, nullptr);
  ASSERT_TRUE(machine->start());
  ASSERT_TRUE(wait_until_running(*machine));
  for (int round = 0; round < 20; ++round) {
    EXPECT_EQ(signal_vcpus(SIGBUS), 2);
    std::this_thread::yield();
  }
  machine->request_stop();
  EXPECT_EQ(end_of(*machine).reason, MachineEnd::Reason::stopped)
      << "it went on, until it was told";
}

} // namespace
} // namespace slat::vmm
