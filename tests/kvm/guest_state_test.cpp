// The handle on KVM, and vCPU state that goes in and comes out.
#include "guest.hpp"
#include "kvm/flavour.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace slat::kvm {
namespace {

TEST(RealSystem, TellsItsLimits) {
  SLAT_NEEDS_KVM();
  const auto system = System::open();
  EXPECT_GE(system->recommended_vcpus(), 1u);
  EXPECT_GE(system->max_vcpus(), system->recommended_vcpus());
  EXPECT_GE(system->max_vcpu_ids(), system->max_vcpus());
  EXPECT_GE(system->max_memslots(), 32u);
  EXPECT_GE(system->vcpu_mmap_size(), sizeof(kvm_run));
  EXPECT_EQ(system->check_extension(KVM_CAP_USER_MEMORY), 1);
  EXPECT_EQ(system->check_extension(99999), 0);
  EXPECT_NE(detect_flavour(), Flavour::absent);
}

TEST(RealSystem, ShowsCpuidWithLongMode) {
  SLAT_NEEDS_KVM();
  const auto cpuid = System::open()->supported_cpuid();
  ASSERT_TRUE(cpuid) << cpuid.error().message;
  const auto leaf = std::ranges::find(*cpuid, 0x80000001u, &kvm_cpuid_entry2::function);
  ASSERT_NE(leaf, cpuid->end());
  EXPECT_NE(leaf->edx & (1u << 29), 0u);
}

TEST(RealSystem, ListsMsrs) {
  SLAT_NEEDS_KVM();
  const auto msrs = System::open()->msr_indices();
  ASSERT_TRUE(msrs) << msrs.error().message;
  EXPECT_NE(std::ranges::find(*msrs, 0xc0000082u), msrs->end()) << "LSTAR";
}

TEST(VcpuState, RegistersComeBackAsTheyWereSet) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  guest.with_regs([](kvm_regs& regs) { regs.r15 = 0x1122334455667788; });
  EXPECT_EQ(guest.vcpu.get_regs()->r15, 0x1122334455667788u);
  kvm_fpu fpu = guest.vcpu.get_fpu().value();
  fpu.xmm[3][5] = 0xa5;
  ASSERT_TRUE(guest.vcpu.set_fpu(fpu));
  EXPECT_EQ(guest.vcpu.get_fpu()->xmm[3][5], 0xa5);
  const auto xsave = guest.vcpu.get_xsave();
  ASSERT_TRUE(xsave) << xsave.error().message;
  EXPECT_TRUE(guest.vcpu.set_xsave(*xsave));
  const auto events = guest.vcpu.get_events();
  ASSERT_TRUE(events) << events.error().message;
  EXPECT_TRUE(guest.vcpu.set_events(*events));
  const auto debugregs = guest.vcpu.get_debugregs();
  ASSERT_TRUE(debugregs) << debugregs.error().message;
  EXPECT_TRUE(guest.vcpu.set_debugregs(*debugregs));
}

TEST(VcpuState, MsrsComeBackAsTheyWereSet) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  const kvm_msr_entry in[] = {{0xc0000082, 0, 0xffffffff81000000}, {0xc0000084, 0, 0x47700}};
  const auto set = guest.vcpu.set_msrs(in);
  ASSERT_TRUE(set) << set.error().message;
  kvm_msr_entry out[] = {{0xc0000084, 0, 0}, {0xc0000082, 0, 0}};
  ASSERT_TRUE(guest.vcpu.get_msrs(out));
  EXPECT_EQ(out[0].data, 0x47700u);
  EXPECT_EQ(out[1].data, 0xffffffff81000000u);
}

TEST(VcpuState, AnMsrThatDoesNotExistIsNamed) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  const kvm_msr_entry msrs[] = {{0xc0000082, 0, 0}, {0xdead0000, 0, 1}};
  const auto set = guest.vcpu.set_msrs(msrs);
  ASSERT_FALSE(set);
  EXPECT_NE(set.error().message.find("0xdead0000"), std::string::npos) << set.error().message;
}

TEST(VcpuState, TheTscHasAFrequency) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  const auto khz = guest.vcpu.tsc_khz();
  ASSERT_TRUE(khz) << khz.error().message;
  EXPECT_GT(*khz, 100000u);
  if (guest.vm.check_extension(KVM_CAP_VM_TSC_CONTROL) == 0)
    EXPECT_EQ(guest.vm.tsc_khz().error().code, Errc::not_supported);
  else
    EXPECT_EQ(guest.vm.tsc_khz().value(), *khz);
}

TEST(VmLimits, AVcpuIdIsGivenOnceAndHasABound) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  const auto again = guest.vm.create_vcpu(0);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::invalid_argument);
  const auto beyond = guest.vm.create_vcpu(guest.system.max_vcpu_ids());
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, Errc::limit_exceeded);
}

TEST(VmDevices, InterruptControllerTimerAndLineComeUp) {
  SLAT_NEEDS_KVM();
  auto vm = System::open()->create_vm();
  ASSERT_TRUE(vm) << vm.error().message;
  for (const auto& result :
       {vm->set_tss_address(0xfffbd000), vm->set_identity_map_address(0xfffbc000),
        vm->create_irqchip(), vm->create_pit(), vm->set_irq_line(4, true)})
    EXPECT_TRUE(result) << result.error().message;
  EXPECT_EQ(vm->create_irqchip().error().os_error, EEXIST);
  auto vcpu = vm->create_vcpu(0);
  ASSERT_TRUE(vcpu) << vcpu.error().message;
  EXPECT_TRUE(vcpu->get_lapic());
  EXPECT_EQ(vcpu->get_mp_state()->mp_state, static_cast<__u32>(KVM_MP_STATE_RUNNABLE));
}

} // namespace
} // namespace slat::kvm
