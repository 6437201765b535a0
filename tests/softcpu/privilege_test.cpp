// Changes of privilege: syscall and sysret, far returns, iret, exceptions from ring 3; what ring 3 may not do.
#include "system_machine.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;
using M = SystemMachine;

constexpr std::uint64_t not_canonical = 0x0000800000000000;

TEST(SoftCpuPrivilege, SyscallAndSysret) {
  M machine;
  machine.code({0x0f, 0x05, 0xcd, 0x80}, M::user_at);        // syscall; int 0x80
  machine.code({0xf4, 0x48, 0x0f, 0x07}, M::system_call_at); // hlt; sysretq
  machine.enter_ring3();
  CpuState& state = machine.cpu.state();
  state.star = 0x0028001000000000, state.lstar = M::system_call_at;
  state.sfmask = rflags_if | rflags_df;
  state.set_rflags(rflags_if | rflags_df | rflags_cf | rflags_id);
  const std::uint64_t flags = state.rflags();
  ASSERT_TRUE(std::holds_alternative<kvm::Hlt>(machine.cpu.run()));
  EXPECT_EQ(state.rip, M::system_call_at + 1);
  EXPECT_EQ(state.gpr[rcx], M::user_at + 2);
  EXPECT_EQ(state.gpr[11], flags);
  EXPECT_EQ(state.rflags(), flags & ~(rflags_if | rflags_df));
  EXPECT_EQ(state.cpl, 0);
  EXPECT_EQ(state.segments[cs].selector, 0x10);
  EXPECT_EQ(state.segments[cs].dpl, 0);
  EXPECT_EQ(state.segments[ss].selector, 0x18);
  EXPECT_EQ(state.gpr[rsp], M::user_stack);
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(M::done, 0));
  EXPECT_EQ(taken.rip, M::user_at + 4);
  EXPECT_EQ(taken.cs, 0x3b);
  EXPECT_EQ(taken.ss, 0x33);
  EXPECT_EQ(taken.rflags, flags);
  EXPECT_EQ(taken.rsp, M::user_stack);
}

TEST(SoftCpuPrivilege, SyscallAndSysretNeedSce) {
  for (const bool call : {true, false}) {
    M machine;
    machine.cpu.state().efer &= ~efer_syscall;
    if (call)
      machine.code({0x0f, 0x05});
    else
      machine.code({0x48, 0x0f, 0x07});
    EXPECT_EQ(machine.take(), vector_with_error(vector_undefined, 0));
  }
}

TEST(SoftCpuPrivilege, SysretToWhatIsNotCanonicalFaultsInRing0) {
  M machine;
  machine.code({0x48, 0x0f, 0x07});
  machine.cpu.state().gpr[rcx] = not_canonical;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_protection, 0));
  EXPECT_EQ(taken.rip, M::code_at);
  EXPECT_EQ(taken.cs, 0x10);
}

TEST(SoftCpuPrivilege, SwapgsSwapsTheBases) {
  M machine;
  machine.code({0x0f, 0x01, 0xf8, 0xf4});
  CpuState& state = machine.cpu.state();
  state.segments[gs].base = 0x1111, state.kernel_gs_base = 0x2222;
  ASSERT_TRUE(std::holds_alternative<kvm::Hlt>(machine.cpu.run()));
  EXPECT_EQ(state.segments[gs].base, 0x2222);
  EXPECT_EQ(state.kernel_gs_base, 0x1111);
}

TEST(SoftCpuPrivilege, BasesOfFsAndGsInRing3) {
  M machine;
  // wrfsbase rax; wrgsbase rcx; rdfsbase rdx; rdgsbase rbx; int 0x80
  machine.code({0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf3, 0x48, 0x0f, 0xae, 0xd9, 0xf3,
                0x48, 0x0f, 0xae, 0xc2, 0xf3, 0x48, 0x0f, 0xae, 0xcb, 0xcd, 0x80},
               M::user_at);
  machine.enter_ring3();
  CpuState& state = machine.cpu.state();
  state.cr4 |= cr4_fsgsbase;
  state.gpr[rax] = 0x123456789abc, state.gpr[rcx] = 0xffff800000000000;
  EXPECT_EQ(machine.take(), vector_with_error(M::done, 0));
  EXPECT_EQ(state.segments[fs].base, 0x123456789abc);
  EXPECT_EQ(state.gpr[rdx], 0x123456789abc);
  EXPECT_EQ(state.gpr[rbx], 0xffff800000000000);

  machine.enter_ring3();
  state.gpr[rcx] = not_canonical;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_protection, 0));
  EXPECT_EQ(taken.rip, M::user_at + 5);

  machine.enter_ring3();
  state.cr4 &= ~cr4_fsgsbase;
  EXPECT_EQ(machine.take(), vector_with_error(vector_undefined, 0));
}

TEST(SoftCpuPrivilege, AFarReturnToTheSamePrivilegeLeavesSsAlone) {
  M machine;
  machine.code({0x48, 0xca, 0x10, 0x00}); // lretq 16
  machine.code({0xf4}, 0xc000);
  CpuState& state = machine.cpu.state();
  state.gdt.limit = 0x17; // no descriptor for the SS in use
  state.gpr[rsp] = 0x7f00;
  machine.put(0x7f00, 0xc000);
  machine.put(0x7f08, 0x10);
  ASSERT_TRUE(std::holds_alternative<kvm::Hlt>(machine.cpu.run()));
  EXPECT_EQ(state.rip, 0xc001);
  EXPECT_EQ(state.gpr[rsp], 0x7f20);
  EXPECT_EQ(state.segments[ss].selector, 0x18);
}

TEST(SoftCpuPrivilege, AFarReturnToAnOuterPrivilegeReleasesBothStacks) {
  M machine;
  machine.code({0x48, 0xca, 0x10, 0x00});
  machine.code({0xcd, 0x80}, M::user_at);
  const std::uint64_t frame[] = {M::user_at, 0x3b, 0, 0, 0xa800, 0x33};
  for (std::size_t i = 0; i < std::size(frame); ++i) machine.put(0x7f00 + 8 * i, frame[i]);
  machine.cpu.state().gpr[rsp] = 0x7f00;
  machine.cpu.state().segments[fs] = vmm::user_data;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(M::done, 0));
  EXPECT_EQ(taken.cs, 0x3b);
  EXPECT_EQ(taken.ss, 0x33);
  EXPECT_EQ(taken.rsp, 0xa810);
  EXPECT_EQ(machine.cpu.state().segments[ds].selector, 0); // was the kernel's
  EXPECT_EQ(machine.cpu.state().segments[fs].selector, 0x33);
}

TEST(SoftCpuPrivilege, NobodyReturnsToAnInnerPrivilege) {
  M machine;
  machine.code({0x48, 0xcf}, M::user_at);
  const std::uint64_t frame[] = {M::code_at, 0x10, 2, 0x7f00, 0x18};
  for (std::size_t i = 0; i < std::size(frame); ++i) machine.put(0xa800 + 8 * i, frame[i]);
  machine.enter_ring3();
  machine.cpu.state().gpr[rsp] = 0xa800;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_protection, 0x10));
  EXPECT_EQ(taken.rip, M::user_at);
  EXPECT_EQ(taken.rsp, 0xa800);
}

TEST(SoftCpuPrivilege, IretWithANestedTaskFaults) {
  M machine;
  machine.code({0x48, 0xcf});
  machine.cpu.state().set_rflags(rflags_nt);
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_protection, 0));
  EXPECT_EQ(taken.rflags & rflags_nt, rflags_nt);
  EXPECT_EQ(machine.cpu.state().rflags() & rflags_nt, 0);
}

TEST(SoftCpuPrivilege, Ring3ChangesNeitherIoplNorIf) {
  M machine;
  // iretq to the next one; push 0x3000; popfq; int 0x80
  machine.code({0x48, 0xcf, 0x68, 0x00, 0x30, 0x00, 0x00, 0x9d, 0xcd, 0x80}, M::user_at);
  const std::uint64_t frame[] = {M::user_at + 2, 0x3b, 0x3000 | rflags_cf, 0xa900, 0x33};
  for (std::size_t i = 0; i < std::size(frame); ++i) machine.put(0xa800 + 8 * i, frame[i]);
  machine.enter_ring3();
  machine.cpu.state().gpr[rsp] = 0xa800;
  machine.cpu.state().set_rflags(rflags_if);
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(M::done, 0));
  EXPECT_EQ(taken.rflags, rflags_if | rflags_fixed);
  EXPECT_EQ(taken.rsp, 0xa900);
}

TEST(SoftCpuPrivilege, AnExceptionInRing3TakesTheStackOfRing0OrOfTheGate) {
  for (const unsigned stack : {0U, 1U}) {
    M machine;
    machine.code({0x0f, 0x0b}, M::user_at); // ud2
    machine.gate(vector_undefined, {.stack = stack});
    machine.enter_ring3();
    const Taken taken = machine.take();
    EXPECT_EQ(taken, vector_with_error(vector_undefined, 0));
    EXPECT_EQ(taken.rip, M::user_at);
    EXPECT_EQ(taken.cs, 0x3b);
    const CpuState& state = machine.cpu.state();
    EXPECT_EQ(state.gpr[rsp], (stack == 0 ? M::kernel_stack : M::interrupt_stack) - 40);
    EXPECT_EQ(state.segments[ss].selector, 0);
    EXPECT_EQ(state.segments[cs].selector, 0x10);
    EXPECT_EQ(state.cpl, 0);
  }
}

TEST(SoftCpuPrivilege, AGateOfRing0IsNotForRing3) {
  M machine;
  machine.code({0xcd, 0x20}, M::user_at);
  machine.enter_ring3();
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_protection, 0x20 * 8 + 2));
  EXPECT_EQ(taken.rip, M::user_at);
}

TEST(SoftCpuPrivilege, WhatRing3MayNotDo) {
  const std::vector<std::vector<int>> instructions = {
      {0xfa},                         // cli
      {0xfb},                         // sti
      {0xf4},                         // hlt
      {0x0f, 0x20, 0xc0},             // mov rax, cr0
      {0x0f, 0x22, 0xd8},             // mov cr3, rax
      {0x0f, 0x21, 0xf8},             // mov rax, dr7
      {0x0f, 0x23, 0xf8},             // mov dr7, rax
      {0x0f, 0x32},                   // rdmsr
      {0x0f, 0x30},                   // wrmsr
      {0x0f, 0x01, 0x38},             // invlpg [rax]
      {0x66, 0x0f, 0x38, 0x82, 0x00}, // invpcid rax, [rax]
      {0x0f, 0x09},                   // wbinvd
      {0x0f, 0x06},                   // clts
      {0x0f, 0x01, 0x10},             // lgdt [rax]
      {0x0f, 0x01, 0x18},             // lidt [rax]
      {0x0f, 0x00, 0xd8},             // ltr ax
      {0x0f, 0x00, 0xd0},             // lldt ax
      {0x0f, 0x01, 0xf8},             // swapgs
      {0x48, 0x0f, 0x07},             // sysretq
      {0xec},                         // in al, dx
      {0xee},                         // out dx, al
      {0x6c},                         // insb
  };
  for (const auto& instruction : instructions) {
    M machine;
    machine.code(instruction, M::user_at);
    machine.enter_ring3();
    const Taken taken = machine.take();
    EXPECT_EQ(taken, vector_with_error(vector_protection, 0))
        << testing::PrintToString(instruction);
    EXPECT_EQ(taken.rip, M::user_at);
  }
  M machine;
  machine.code({0x0f, 0x01, 0xcb}, M::user_at); // stac
  machine.enter_ring3();
  EXPECT_EQ(machine.take(), vector_with_error(vector_undefined, 0));
}

struct PortCase {
  unsigned iopl;
  std::uint16_t port;
  unsigned size;
  bool allowed;

  friend void PrintTo(const PortCase& ports, std::ostream* out) {
    *out << "IOPL " << ports.iopl << " port " << ports.port << " size " << ports.size;
  }
};

class SoftCpuPorts : public testing::TestWithParam<PortCase> {};

TEST_P(SoftCpuPorts, TheBitmapOfTheTaskDecidesUnlessIoplDoes) {
  const PortCase& wanted = GetParam();
  M machine;
  if (wanted.size == 1)
    machine.code({0xee}, M::user_at); // out dx, al
  else if (wanted.size == 2)
    machine.code({0x66, 0xef}, M::user_at);
  else
    machine.code({0xef}, M::user_at);
  machine.put(M::task_at + 0x60, 0x68ULL << 48);    // the bitmap is behind the TSS
  machine.cpu.state().task.limit = 0x68 + 9;        // bits of 72 ports and the byte behind them
  machine.put(M::task_at + 0x68, ~0x0f0000fe00ULL); // 0x9 to 0xf and 0x20 to 0x23 are allowed
  machine.put(M::task_at + 0x70, ~0ULL << 8);       // and 0x40 to 0x47
  machine.enter_ring3();
  machine.cpu.state().set_rflags(std::uint64_t{wanted.iopl} << 12);
  machine.cpu.state().gpr[rdx] = wanted.port;
  const Exit exit = machine.cpu.run();
  if (wanted.allowed) {
    const auto* out = std::get_if<kvm::IoOut>(&exit);
    ASSERT_NE(out, nullptr);
    EXPECT_EQ(out->port, wanted.port);
    EXPECT_EQ(out->size, wanted.size);
  } else {
    ASSERT_TRUE(std::holds_alternative<kvm::Hlt>(exit));
    EXPECT_EQ(machine.taken(machine.cpu.state()), vector_with_error(vector_protection, 0));
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SoftCpuPorts,
                         testing::Values(PortCase{0, 0x9, 1, true}, PortCase{0, 0x8, 1, false},
                                         PortCase{0, 0x8, 2, false}, PortCase{0, 0xe, 2, true},
                                         PortCase{0, 0xf, 2,
                                                  false}, // the second is in another byte
                                         PortCase{0, 0xc, 4, true}, PortCase{0, 0xd, 4, false},
                                         PortCase{0, 0x20, 4, true}, PortCase{2, 0x24, 1, false},
                                         PortCase{0, 0x47, 1, true}, PortCase{0, 0x48, 1, false},
                                         PortCase{0, 0x50, 1, false}, // past the limit
                                         PortCase{0, 0xffff, 1, false}, PortCase{3, 0x24, 1, true},
                                         PortCase{3, 0xffff, 4, true}));

TEST(SoftCpuPrivilege, ADeniedRepeatedOutLeavesItsRegisters) {
  M machine;
  machine.code({0xf3, 0x6e}, M::user_at); // rep outsb
  machine.enter_ring3();
  CpuState& state = machine.cpu.state();
  state.gpr[rcx] = 5, state.gpr[rsi] = M::data_at;
  EXPECT_EQ(machine.take(), vector_with_error(vector_protection, 0));
  EXPECT_EQ(state.gpr[rcx], 5);
  EXPECT_EQ(state.gpr[rsi], M::data_at);
}

TEST(SoftCpuPrivilege, Iopl3AllowsCliAndSti) {
  M machine;
  machine.code({0xfb, 0x90, 0xfa, 0xcd, 0x80}, M::user_at);
  machine.enter_ring3();
  machine.cpu.state().set_rflags(rflags_iopl);
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(M::done, 0));
  EXPECT_EQ(taken.rflags, rflags_iopl | rflags_fixed);
}

} // namespace
} // namespace slat::test
