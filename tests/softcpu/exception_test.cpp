// Exceptions that come up while another is delivered, with their error codes; double and triple faults; and what a
// software vCPU does not have: it stops and says what.
#include "system_machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;
using M = SystemMachine;

constexpr std::uint64_t ext = 1, idt_error = 2;
constexpr std::uint64_t bad_stack = M::data_at + 0x800;

bool is_shutdown(const Exit& exit) {
  return std::holds_alternative<kvm::Shutdown>(exit);
}

/// ud2 at code_at. An exception without an error code, which never makes a double fault.
struct UndefinedMachine : SystemMachine {
  UndefinedMachine() { code({0x0f, 0x0b}); }

  void use_stack(std::uint64_t stack) { cpu.state().gpr[rsp] = stack; }

  void use_unmapped_stack() {
    put(pte(bad_stack), 0);
    use_stack(bad_stack);
  }
};

struct BadGate {
  const char* name;
  SystemMachine::Gate gate;
  Taken taken;

  friend void PrintTo(const BadGate& bad, std::ostream* out) { *out << bad.name; }
};

class SoftCpuBadGate : public testing::TestWithParam<BadGate> {};

TEST_P(SoftCpuBadGate, OfAnExceptionHasEXTInItsErrorCode) {
  UndefinedMachine machine;
  machine.gate(vector_undefined, GetParam().gate);
  const Taken taken = machine.take();
  EXPECT_EQ(taken, GetParam().taken);
  EXPECT_EQ(taken.rip, M::code_at);
  EXPECT_EQ(taken.cs, 0x10);
}

TEST_P(SoftCpuBadGate, OfAnInterruptHasEXTInItsErrorCode) {
  UndefinedMachine machine;
  machine.gate(vector_undefined, GetParam().gate);
  machine.cpu.state().set_rflags(rflags_if);
  ASSERT_TRUE(machine.cpu.interrupt(vector_undefined));
  EXPECT_EQ(machine.take(), GetParam().taken);
}

TEST_P(SoftCpuBadGate, OfIntHasNot) {
  UndefinedMachine machine;
  machine.code({0xcd, vector_undefined});
  machine.gate(vector_undefined, GetParam().gate);
  Taken wanted = GetParam().taken;
  wanted.error &= ~ext;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, wanted);
  EXPECT_EQ(taken.rip, M::code_at);
}

INSTANTIATE_TEST_SUITE_P(
    Gates, SoftCpuBadGate,
    testing::Values(
        BadGate{"Absent", {.present = false}, vector_with_error(vector_no_segment, 6 * 8 + 3)},
        BadGate{"NullSegment", {.selector = 0}, vector_with_error(vector_protection, ext)},
        BadGate{"DataSegment", {.selector = 0x18}, vector_with_error(vector_protection, 0x19)},
        BadGate{"OuterSegment", {.selector = 0x38}, vector_with_error(vector_protection, 0x39)},
        BadGate{
            "SegmentPastTheLimit", {.selector = 0x40}, vector_with_error(vector_protection, 0x41)},
        BadGate{"NotCanonical",
                {.handler = 0x0000800000000000},
                vector_with_error(vector_protection, ext)}),
    [](const auto& chosen) { return std::string(chosen.param.name); });

TEST(SoftCpuDelivery, AVectorPastTheIdtIsAProtectionFault) {
  M machine;
  machine.code({0xcd, 0xff});
  machine.cpu.state().idt.limit = 0xffe;
  EXPECT_EQ(machine.take(), vector_with_error(vector_protection, 0xff * 8 + idt_error));
}

TEST(SoftCpuDelivery, AStackOutsideOfTheTaskIsABadTask) {
  M machine;
  machine.code({0xcd, 0x40});
  machine.gate(0x40, {.stack = 1});
  machine.cpu.state().task.limit = 0x2a;
  EXPECT_EQ(machine.take(), vector_with_error(vector_bad_tss, 0x20));
}

TEST(SoftCpuDelivery, AnUnmappedStackIsAPageFault) {
  UndefinedMachine machine;
  machine.use_unmapped_stack();
  machine.gate(vector_page_fault, {.stack = 1});
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_page_fault, 2));
  EXPECT_EQ(taken.rip, M::code_at);
  EXPECT_EQ(taken.rsp, bad_stack);
  EXPECT_EQ(machine.cpu.state().cr2, bad_stack - 8);
}

TEST(SoftCpuDelivery, AStackThatIsNotCanonicalIsAStackFault) {
  UndefinedMachine machine;
  machine.use_stack(0x0000900000000000);
  machine.gate(vector_stack, {.stack = 1});
  EXPECT_EQ(machine.take(), vector_with_error(vector_stack, ext));
  machine.code({0x50}); // push rax
  machine.cpu.state().rip = M::code_at;
  machine.use_stack(0x0000900000000000);
  EXPECT_EQ(machine.take(), vector_with_error(vector_stack, 0));
}

TEST(SoftCpuDelivery, WhatADeviceAnsweredIsNotForTheHandlerOfALaterFault) {
  M machine;
  machine.code({0xec}); // in al, dx, whose code goes away meanwhile
  machine.gate(vector_page_fault, {.handler = 0xc000});
  machine.code({0xec, 0xf4}, 0xc000);
  Exit exit = machine.cpu.run();
  auto* in = std::get_if<kvm::IoIn>(&exit);
  ASSERT_NE(in, nullptr);
  in->data[0] = std::byte{1};
  machine.put(M::pte(M::code_at), 0);
  machine.cpu.flush().wait(machine.cpu.flush().request());
  exit = machine.cpu.run();
  in = std::get_if<kvm::IoIn>(&exit);
  ASSERT_NE(in, nullptr);
  in->data[0] = std::byte{2};
  EXPECT_TRUE(std::holds_alternative<kvm::Hlt>(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().gpr[rax], 2);
}

TEST(SoftCpuDoubleFault, APageFaultThatCannotBePushed) {
  UndefinedMachine machine;
  machine.use_unmapped_stack();
  machine.gate(vector_double_fault, {.stack = 1});
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_double_fault, 0));
  EXPECT_EQ(taken.rip, M::code_at);
  EXPECT_EQ(taken.rsp, bad_stack);
}

TEST(SoftCpuDoubleFault, TwoContributoryOnes) {
  M machine;
  machine.code({0xf7, 0xf1}); // div ecx, by 0
  machine.gate(vector_divide, {.present = false});
  EXPECT_EQ(machine.take(), vector_with_error(vector_double_fault, 0));
}

TEST(SoftCpuDoubleFault, APageFaultWithABadGate) {
  M machine;
  machine.code({0x48, 0x8b, 0x03}); // mov rax, [rbx]
  machine.cpu.state().gpr[rbx] = M::data_at;
  machine.put(M::pte(M::data_at), 0);
  machine.gate(vector_page_fault, {.present = false});
  EXPECT_EQ(machine.take(), vector_with_error(vector_double_fault, 0));
  EXPECT_EQ(machine.cpu.state().cr2, M::data_at);
}

TEST(SoftCpuDoubleFault, AContributoryOneBeforeAPageFaultIsNone) {
  M machine;
  machine.code({0xf7, 0xf1});
  machine.put(M::pte(bad_stack), 0);
  machine.cpu.state().gpr[rsp] = bad_stack;
  machine.gate(vector_page_fault, {.stack = 1});
  EXPECT_EQ(machine.take(), vector_with_error(vector_page_fault, 2));
}

TEST(SoftCpuTripleFault, IsAShutdownWhoseStateIsKept) {
  for (const bool bad_gate : {false, true}) {
    UndefinedMachine machine;
    machine.use_unmapped_stack();
    if (bad_gate) machine.gate(vector_double_fault, {.stack = 1, .present = false});
    EXPECT_TRUE(is_shutdown(machine.cpu.run()));
    EXPECT_EQ(machine.cpu.state().rip, M::code_at);
    EXPECT_EQ(machine.cpu.state().gpr[rsp], bad_stack);
  }
  UndefinedMachine machine;
  machine.cpu.state().idt.limit = 0;
  EXPECT_TRUE(is_shutdown(machine.cpu.run()));
}

// What there is not.

struct Missing {
  const char* name;
  std::vector<int> code;
  const char* says;
  void (*prepare)(M& machine) = [](M&) {};

  friend void PrintTo(const Missing& missing, std::ostream* out) { *out << missing.name; }
};

class SoftCpuUnsupported : public testing::TestWithParam<Missing> {};

TEST_P(SoftCpuUnsupported, StopsAtTheInstructionWithAReport) {
  M machine;
  machine.code({0x90});
  machine.code(GetParam().code, M::code_at + 1);
  GetParam().prepare(machine);
  machine.put(M::gdt_at + 8, 0x00cf9b000000ffff); // 32-bit code
  const Exit exit = machine.cpu.run();
  const auto* stopped = std::get_if<Unsupported>(&exit);
  ASSERT_NE(stopped, nullptr) << exit.index();
  EXPECT_EQ(stopped->rip, M::code_at + 1);
  EXPECT_THAT(stopped->what, testing::HasSubstr(GetParam().says));
}

void set_rax(M& machine, std::uint64_t value) {
  machine.cpu.state().gpr[rax] = value;
}

void push_frame(M& machine, std::initializer_list<std::uint64_t> frame) {
  std::uint64_t at = 0x7f00;
  machine.cpu.state().gpr[rsp] = at;
  for (const std::uint64_t word : frame) machine.put(at, word), at += 8;
}

INSTANTIATE_TEST_SUITE_P(
    All, SoftCpuUnsupported,
    testing::Values(
        Missing{"Sse", {0x0f, 0x10, 0x00}, "movups"}, Missing{"X87", {0xd9, 0xe8}, "fld1"},
        Missing{"LdtSelector", {0x8e, 0xd8}, "LDT", [](M& machine) { set_rax(machine, 0x0c); }},
        Missing{"FarReturnTo32Bits",
                {0x48, 0xcb},
                "32-bit",
                [](M& machine) { push_frame(machine, {0x9000, 8}); }},
        Missing{"IretTo32Bits",
                {0x48, 0xcf},
                "32-bit",
                [](M& machine) { push_frame(machine, {0x9000, 8, 2, 0x7000, 0x18}); }},
        Missing{"HandlerIn32Bits",
                {0xcd, 0x40},
                "32-bit",
                [](M& machine) { machine.gate(0x40, {.selector = 8}); }},
        Missing{"Sysret32", {0x0f, 0x07}, "32-bit"},
        Missing{"Breakpoint",
                {0x0f, 0x23, 0xf8},
                "breakpoint",
                [](M& machine) { set_rax(machine, 1); }},
        Missing{"BreakpointByDr5",
                {0x0f, 0x23, 0xe8},
                "breakpoint",
                [](M& machine) { set_rax(machine, 2); }},
        Missing{"TrapFlagByPopf",
                {0x9d},
                "trap flag",
                [](M& machine) { push_frame(machine, {0x102}); }},
        Missing{"TrapFlagByIret",
                {0x48, 0xcf},
                "trap flag",
                [](M& machine) { push_frame(machine, {0x9000, 0x10, 0x102, 0x7000, 0x18}); }},
        Missing{"TrapFlagBySysret",
                {0x48, 0x0f, 0x07},
                "trap flag",
                [](M& machine) { machine.cpu.state().gpr[11] = 0x102; }},
        Missing{"AlignmentChecks",
                {0x48, 0xcf},
                "alignment",
                [](M& machine) {
                  machine.cpu.state().cr0 |= cr0_alignment_mask;
                  push_frame(machine, {0x9000, 0x3b, 0x40002, 0xa000, 0x33});
                }},
        Missing{"SplitLock",
                {0xf0, 0xff, 0x00}, // lock inc dword [rax]
                "locked",
                [](M& machine) { set_rax(machine, M::data_at + 6); }},
        Missing{"LeavingLongMode",
                {0x0f, 0x22, 0xc0},
                "long mode",
                [](M& machine) { set_rax(machine, 0x33); }},
        Missing{"Sysenter", {0x0f, 0x34}, "sysenter"},
        Missing{"Xsave", {0x0f, 0xae, 0x20}, "xsave"}, Missing{"Wait", {0x9b}, "wait"}),
    [](const auto& chosen) { return std::string(chosen.param.name); });

TEST(SoftCpuUnsupported, CodeInADevice) {
  M machine;
  machine.cpu.state().rip = M::device_at;
  const Exit exit = machine.cpu.run();
  const auto* stopped = std::get_if<Unsupported>(&exit);
  ASSERT_NE(stopped, nullptr);
  EXPECT_EQ(stopped->rip, M::device_at);
}

} // namespace
} // namespace slat::test
