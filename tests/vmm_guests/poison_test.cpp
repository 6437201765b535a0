// A page whose source has failed, under a running guest.
#include "machine_host.hpp"
#include "vmm/layout.hpp"

#include <gmock/gmock.h>

namespace slat::vmm {
namespace {

using PoisonTest = MachineTest;

// The vCPU gets SIGBUS out of KVM_RUN: the process must survive it and say what happened.
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

} // namespace
} // namespace slat::vmm
