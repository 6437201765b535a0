// Model-specific, control and debug registers: what they keep, and what they refuse with #GP(0).
#include "system_machine.hpp"

#include <gtest/gtest.h>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;
using M = SystemMachine;

constexpr std::uint64_t not_canonical = 0x0000800000000000;
constexpr std::uint32_t efer_msr = 0xc0000080;

void set_msr_operands(M& machine, std::uint32_t number, std::uint64_t value) {
  auto& gpr = machine.cpu.state().gpr;
  gpr[rcx] = number, gpr[rax] = value & UINT32_MAX, gpr[rdx] = value >> 32;
}

/// Writes and reads back: what was taken, and the value in the end.
struct WrittenMsr {
  Taken taken;
  std::uint64_t value;
};

WrittenMsr write_and_read(M& machine, std::uint32_t number, std::uint64_t value) {
  machine.code({0x0f, 0x30, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x32, 0xcd, 0x80}); // wrmsr; clear; rdmsr
  machine.cpu.state().rip = M::code_at;
  set_msr_operands(machine, number, value);
  const Taken taken = machine.take();
  const auto& gpr = machine.cpu.state().gpr;
  return {taken, gpr[rdx] << 32 | gpr[rax]};
}

const Taken came_through = vector_with_error(M::done, 0);
const Taken refused = vector_with_error(vector_protection, 0);

struct MsrCase {
  std::uint32_t number;
  std::uint64_t good;
  std::uint64_t bad = 0; // 0: none

  friend void PrintTo(const MsrCase& msr, std::ostream* out) {
    *out << std::hex << msr.number << std::dec;
  }
};

class SoftCpuMsr : public testing::TestWithParam<MsrCase> {};

TEST_P(SoftCpuMsr, ReadsBackWhatWasWrittenAndRefusesWhatIsReserved) {
  const MsrCase& msr = GetParam();
  M machine;
  const WrittenMsr good = write_and_read(machine, msr.number, msr.good);
  EXPECT_EQ(good.taken, came_through);
  EXPECT_EQ(good.value, msr.good);
  if (msr.bad == 0) return;
  const WrittenMsr bad = write_and_read(machine, msr.number, msr.bad);
  EXPECT_EQ(bad.taken, refused);
  EXPECT_EQ(bad.taken.rip, M::code_at);
  machine.code({0x0f, 0x32, 0xcd, 0x80}); // rdmsr
  machine.cpu.state().rip = M::code_at;
  EXPECT_EQ(machine.take(), came_through);
  const auto& gpr = machine.cpu.state().gpr;
  EXPECT_EQ(gpr[rdx] << 32 | gpr[rax], msr.good);
}

constexpr std::uint64_t high = 0xffffffff81234567;

INSTANTIATE_TEST_SUITE_P(All, SoftCpuMsr,
                         testing::Values(MsrCase{0x1b, 0xfee00900}, MsrCase{0x174, 0x10},
                                         MsrCase{0x175, high, not_canonical},
                                         MsrCase{0x176, high, not_canonical}, MsrCase{0x1a0, 1},
                                         MsrCase{0x277, 0x0106050400070401, 0x0007040600070402},
                                         MsrCase{0xc0000081, 0x0028001012345678},
                                         MsrCase{0xc0000082, high, not_canonical},
                                         MsrCase{0xc0000083, high, not_canonical},
                                         MsrCase{0xc0000084, 0x47700},
                                         MsrCase{0xc0000100, 0x7f0123456789, not_canonical},
                                         MsrCase{0xc0000101, high, not_canonical},
                                         MsrCase{0xc0000102, high, not_canonical},
                                         MsrCase{0xc0000103, 0x12345, 1ULL << 32}));

TEST(SoftCpuMsr, UnknownOnesAreRefused) {
  for (const std::uint32_t number : {0x1234U, 0x0U, 0xc0000104U, 0x40000000U}) {
    M machine;
    EXPECT_EQ(write_and_read(machine, number, 0).taken, refused);
    machine.code({0x0f, 0x32});
    machine.cpu.state().rip = M::code_at;
    set_msr_operands(machine, number, 0x55);
    EXPECT_EQ(machine.take(), refused);
    EXPECT_EQ(machine.cpu.state().gpr[rax], 0x55);
  }
}

TEST(SoftCpuMsr, BasesAreThoseOfTheSegments) {
  M machine;
  EXPECT_EQ(write_and_read(machine, 0xc0000100, 0x123000).taken, came_through);
  EXPECT_EQ(write_and_read(machine, 0xc0000101, 0x456000).taken, came_through);
  EXPECT_EQ(machine.cpu.state().segments[fs].base, 0x123000);
  EXPECT_EQ(machine.cpu.state().segments[gs].base, 0x456000);
}

TEST(SoftCpuMsr, TheTscGoesOnFromWhatWasWritten) {
  M machine;
  const WrittenMsr written = write_and_read(machine, 0x10, 1ULL << 60);
  EXPECT_EQ(written.taken, came_through);
  EXPECT_GE(written.value, 1ULL << 60);
  EXPECT_LT(written.value, (1ULL << 60) + (1ULL << 40));
}

TEST(SoftCpuMsr, EferKeepsLongMode) {
  constexpr std::uint64_t long_mode = 0x500; // LMA, LME
  M machine;
  EXPECT_EQ(write_and_read(machine, efer_msr, 0x500).value, long_mode);
  EXPECT_EQ(write_and_read(machine, efer_msr, 0xd01).value, long_mode | 0x801);
  const WrittenMsr without_active = write_and_read(machine, efer_msr, 0x100);
  EXPECT_EQ(without_active.taken, came_through);
  EXPECT_EQ(without_active.value, long_mode);
  EXPECT_EQ(write_and_read(machine, efer_msr, 0x400).taken, refused); // without LME
  EXPECT_EQ(write_and_read(machine, efer_msr, 0x502).taken, refused);
  EXPECT_EQ(machine.cpu.state().efer, long_mode);
}

TEST(SoftCpuMsr, NxeTakesEffectAtOnce) {
  M machine;
  machine.put(M::pte(M::data_at), M::data_at | 7 | 1ULL << 63);
  // mov rsi,[rbx]; wrmsr; mov rsi,[rbx]: without NXE its bit is reserved
  machine.code({0x48, 0x8b, 0x33, 0x0f, 0x30, 0x48, 0x8b, 0x33});
  machine.cpu.state().gpr[rbx] = M::data_at;
  set_msr_operands(machine, efer_msr, 0x501);
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_page_fault, 9));
  EXPECT_EQ(taken.rip, M::code_at + 5);
}

struct ControlCase {
  int number;
  std::uint64_t set, cleared;
  bool good;

  friend void PrintTo(const ControlCase& control, std::ostream* out) {
    *out << "CR" << control.number << std::hex << " with 0x" << control.set << " without 0x"
         << control.cleared << std::dec;
  }
};

class SoftCpuControl : public testing::TestWithParam<ControlCase> {};

TEST_P(SoftCpuControl, TakesWhatItHasAndRefusesTheRest) {
  const ControlCase& control = GetParam();
  M machine;
  machine.protect();
  const int reg = 0xc0 | control.number % 8 << 3; // with rax
  const int rex = control.number < 8 ? 0x48 : 0x4c;
  // mov cr, rax; mov rax, cr
  machine.code({rex, 0x0f, 0x22, reg, 0x31, 0xc0, rex, 0x0f, 0x20, reg, 0xcd, 0x80});
  CpuState& state = machine.cpu.state();
  const std::uint64_t before = control.number == 0   ? state.cr0
                               : control.number == 3 ? state.cr3
                               : control.number == 4 ? state.cr4
                                                     : 0;
  const std::uint64_t wanted = (before | control.set) & ~control.cleared;
  state.gpr[rax] = wanted;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, control.good ? came_through : refused);
  if (control.good)
    EXPECT_EQ(state.gpr[rax], wanted);
  else
    EXPECT_EQ(taken.rip, M::code_at);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, SoftCpuControl,
    testing::Values(ControlCase{0, 1U << 16, 0, true}, ControlCase{0, 1U << 3, 0, true},
                    ControlCase{0, 1ULL << 32, 0, false}, ControlCase{2, not_canonical, 0, true},
                    ControlCase{3, 0x18, 0, true}, ControlCase{3, 1ULL << 46, 0, false},
                    ControlCase{3, 1ULL << 63, 0, false}, ControlCase{4, 0x3106c0, 0, true},
                    ControlCase{4, 0, 1U << 5, false}, ControlCase{4, 1U << 11, 0, false}, // UMIP
                    ControlCase{4, 1U << 12, 0, false}, // 5 levels
                    ControlCase{4, 1U << 18, 0, false}, // XSAVE
                    ControlCase{4, 1ULL << 32, 0, false}, ControlCase{8, 7, 0, true},
                    ControlCase{8, 16, 0, false}));

TEST(SoftCpuControl, PcidsBeginWithPcid0) {
  M machine;
  machine.code({0x0f, 0x22, 0xe0}); // mov cr4, rax
  CpuState& state = machine.cpu.state();
  state.cr3 |= 8;
  machine.cpu.state_changed();
  state.gpr[rax] = state.cr4 | cr4_pcid;
  EXPECT_EQ(machine.take(), refused);
}

TEST(SoftCpuDebugRegisters, KeepAddressesAndHaveTheirFixedBits) {
  M machine;
  // mov dr1,rax; mov rcx,dr1; mov rdx,dr6; mov rsi,dr7; mov dr7,rdi; mov r8,dr5
  machine.code({0x0f, 0x23, 0xc8, 0x0f, 0x21, 0xc9, 0x0f, 0x21, 0xf2, 0x0f, 0x21,
                0xfe, 0x0f, 0x23, 0xff, 0x41, 0x0f, 0x21, 0xe8, 0xcd, 0x80});
  CpuState& state = machine.cpu.state();
  state.gpr[rax] = 0x123456;
  EXPECT_EQ(machine.take(), came_through);
  EXPECT_EQ(state.gpr[rcx], 0x123456);
  EXPECT_EQ(state.gpr[rdx], 0xffff0ff0);
  EXPECT_EQ(state.gpr[rsi], 0x400);
  EXPECT_EQ(state.gpr[8], 0x400); // dr5 is dr7
}

TEST(SoftCpuDebugRegisters, Dr4AndDr5AreUndefinedWithDebugExtensions) {
  for (const int reg : {0xe0, 0xe8}) {
    M machine;
    machine.code({0x0f, 0x23, reg});
    machine.cpu.state().cr4 |= 8;
    EXPECT_EQ(machine.take(), vector_with_error(vector_undefined, 0));
  }
}

} // namespace
} // namespace slat::test
