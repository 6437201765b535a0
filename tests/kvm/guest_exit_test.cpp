// Each decoded exit, from a guest that causes it.
#include "guest.hpp"

#include <gtest/gtest.h>

namespace slat::kvm {
namespace {

TEST(GuestExit, OutThenHlt) {
  SLAT_NEEDS_KVM();
  Guest guest({0xb0, 0x2a, // mov $42, %al
               0xe6, 0xe9, // out %al, $0xe9
               0xf4});     // hlt
  const auto out = guest.run_to<IoOut>();
  EXPECT_EQ(out.port, 0xe9);
  EXPECT_EQ(out.size, 1);
  EXPECT_EQ(out.count, 1u);
  ASSERT_EQ(out.data.size(), 1u);
  EXPECT_EQ(out.data[0], std::byte{42});
  guest.run_to<Hlt>();
}

TEST(GuestExit, OutOfFourBytes) {
  SLAT_NEEDS_KVM();
  Guest guest({0xef,   // out %eax, %dx
               0xf4}); // hlt
  guest.with_regs([](kvm_regs& regs) {
    regs.rax = 0x11223344;
    regs.rdx = 0xcf8;
  });
  const auto out = guest.run_to<IoOut>();
  EXPECT_EQ(out.port, 0xcf8);
  ASSERT_EQ(out.data.size(), 4u);
  EXPECT_EQ(out.data[0], std::byte{0x44});
  EXPECT_EQ(out.data[3], std::byte{0x11});
}

TEST(GuestExit, InGetsWhatWasPutIntoItsData) {
  SLAT_NEEDS_KVM();
  Guest guest({0xe4, 0x60, // in $0x60, %al
               0xe6, 0xe9, // out %al, $0xe9
               0xf4});     // hlt
  guest.run_to<IoIn>().data[0] = std::byte{0x5c};
  EXPECT_EQ(guest.run_to<IoOut>().data[0], std::byte{0x5c});
}

TEST(GuestExit, MmioWrite) {
  SLAT_NEEDS_KVM();
  Guest guest({0x89, 0x1f, // mov %ebx, (%rdi)
               0xf4});     // hlt
  guest.with_regs([](kvm_regs& regs) {
    regs.rbx = 0xaabbccdd;
    regs.rdi = Guest::mmio_gpa + 0x10;
  });
  const auto write = guest.run_to<MmioWrite>();
  EXPECT_EQ(write.gpa, Guest::mmio_gpa + 0x10);
  EXPECT_EQ(write.size, 4u);
  ASSERT_EQ(write.data.size(), 4u);
  EXPECT_EQ(write.data[0], std::byte{0xdd});
  guest.run_to<Hlt>();
}

TEST(GuestExit, MmioReadGetsWhatWasPutIntoItsData) {
  SLAT_NEEDS_KVM();
  Guest guest({0x48, 0x8b, 0x1f, // mov (%rdi), %rbx
               0xf4});           // hlt
  guest.with_regs([](kvm_regs& regs) { regs.rdi = Guest::mmio_gpa; });
  const auto read = guest.run_to<MmioRead>();
  EXPECT_EQ(read.gpa, Guest::mmio_gpa);
  ASSERT_EQ(read.data.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) read.data[i] = static_cast<std::byte>(i + 1);
  guest.run_to<Hlt>();
  EXPECT_EQ(guest.vcpu.get_regs()->rbx, 0x0807060504030201u);
}

TEST(GuestExit, AnExceptionThatCannotBeDeliveredIsShutdown) {
  SLAT_NEEDS_KVM();
  Guest guest({0x0f, 0x0b}); // ud2
  guest.run_to<Shutdown>();
}

TEST(GuestExit, CompletingAnInChangesTheRegistersWithoutRunningTheGuest) {
  SLAT_NEEDS_KVM();
  Guest guest({0xe4, 0x60, // in $0x60, %al
               0xb3, 0x07, // mov $7, %bl
               0xf4});     // hlt
  guest.run_to<IoIn>().data[0] = std::byte{0x5c};
  const auto exit = guest.vcpu.complete_pending_io();
  ASSERT_TRUE(exit);
  EXPECT_TRUE(std::holds_alternative<Interrupted>(*exit)) << to_string(*exit);
  const auto regs = guest.vcpu.get_regs();
  EXPECT_EQ(regs->rax & 0xff, 0x5cu);
  EXPECT_EQ(regs->rip, Guest::code_gpa + 2);
  EXPECT_EQ(regs->rbx & 0xff, 0u) << "the guest ran on";
  guest.run_to<Hlt>();
  EXPECT_EQ(guest.vcpu.get_regs()->rbx & 0xff, 7u);
}

TEST(GuestExit, CompletingAnMmioReadChangesTheRegisters) {
  SLAT_NEEDS_KVM();
  Guest guest({0x8b, 0x1f, // mov (%rdi), %ebx
               0xf4});     // hlt
  guest.with_regs([](kvm_regs& regs) { regs.rdi = Guest::mmio_gpa; });
  guest.run_to<MmioRead>().data[0] = std::byte{9};
  ASSERT_TRUE(guest.vcpu.complete_pending_io());
  EXPECT_EQ(guest.vcpu.get_regs()->rbx & 0xff, 9u);
}

TEST(GuestExit, AnAccessThatGoesOnIsReportedByTheCompletion) {
  SLAT_NEEDS_KVM();
  // A write that crosses a page is two accesses for KVM.
  Guest guest({0x48, 0x89, 0x1f, // mov %rbx, (%rdi)
               0xf4});           // hlt
  guest.with_regs([](kvm_regs& regs) {
    regs.rbx = 0x0807060504030201;
    regs.rdi = Guest::mmio_gpa + 0xffc;
  });
  EXPECT_EQ(guest.run_to<MmioWrite>().gpa, Guest::mmio_gpa + 0xffc);
  auto exit = guest.vcpu.complete_pending_io();
  ASSERT_TRUE(exit);
  ASSERT_TRUE(std::holds_alternative<MmioWrite>(*exit)) << to_string(*exit);
  EXPECT_EQ(std::get<MmioWrite>(*exit).gpa, Guest::mmio_gpa + 0x1000);
  exit = guest.vcpu.complete_pending_io();
  ASSERT_TRUE(exit);
  EXPECT_TRUE(std::holds_alternative<Interrupted>(*exit)) << to_string(*exit);
}

TEST(GuestExit, AStateThatNoProcessorHasIsRefused) {
  SLAT_NEEDS_KVM();
  Guest guest({0xf4});
  kvm_sregs sregs = guest.vcpu.get_sregs().value();
  sregs.cr0 &= ~1ull; // paging without protection
  const auto result = guest.vcpu.set_sregs(sregs);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().os_error, EINVAL);
  EXPECT_EQ(result.error().message, "KVM_SET_SREGS: Invalid argument (EINVAL)");
}

} // namespace
} // namespace slat::kvm
