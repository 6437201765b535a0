// What page tables allow: user and supervisor, writes, NX, SMEP, SMAP, reserved bits, at every level and for large
// pages; and the accessed and dirty bits that a walk sets.
#include "system_machine.hpp"

#include <array>
#include <gtest/gtest.h>
#include <memory>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;
using M = SystemMachine;

constexpr std::uint64_t w = 2, u = 4, large = 0x80, nx = 1ULL << 63;

/// Linear addresses from 2^39 have tables of their own, so that every level can be changed alone.
struct PagingMachine : SystemMachine {
  static constexpr std::uint64_t far_at = 1ULL << 39, frame_at = 0x20000;
  static constexpr std::array<std::uint64_t, 5> entry = {0, 0x52000, 0x51000, 0x50000,
                                                         tables_at + 8}; // by level

  PagingMachine() {
    protect();
    put(entry[4], 0x50007);
    put(entry[3], 0x51007);
    put(entry[2], 0x52007);
    put(entry[1], frame_at | 7);
    code({0xcd, 0x80}, frame_at); // int 0x80, for jumps
    cpu.state().gpr[rbx] = far_at;
    cpu.state().gpr[rsi] = 0;
  }
};

enum class Does : std::uint8_t { read, write, execute };

struct Rights {
  std::uint64_t leaf; // flags of the page's entry
  unsigned ring;
  Does does;
  std::int64_t error; // of the page fault; -1: none
  bool write_protect = true;
  std::uint64_t cr4 = 0; // on top of PAE
  bool ac = false;
  bool nxe = true;

  friend void PrintTo(const Rights& rights, std::ostream* out) {
    *out << std::hex << "leaf 0x" << rights.leaf << " ring " << rights.ring << " access "
         << static_cast<int>(rights.does) << " error 0x" << rights.error << std::dec;
  }
};

constexpr std::int64_t none = -1;

void access(PagingMachine& machine, Does does, unsigned ring) {
  const std::uint64_t at = ring == 3 ? M::user_at : M::code_at;
  if (does == Does::read) machine.code({0x48, 0x8b, 0x03, 0xcd, 0x80}, at);  // mov rax, [rbx]
  if (does == Does::write) machine.code({0x48, 0x89, 0x33, 0xcd, 0x80}, at); // mov [rbx], rsi
  if (does == Does::execute) machine.code({0xff, 0xe3}, at);                 // jmp rbx
  if (ring == 3) machine.enter_ring3();
}

void expect_fault(PagingMachine& machine, std::int64_t error) {
  const Taken taken = machine.take();
  if (error == none) {
    EXPECT_EQ(taken, vector_with_error(M::done, 0));
  } else {
    EXPECT_EQ(taken, vector_with_error(vector_page_fault, static_cast<std::uint64_t>(error)));
    EXPECT_EQ(machine.cpu.state().cr2, PagingMachine::far_at);
  }
}

class SoftCpuRights : public testing::TestWithParam<Rights> {};

TEST_P(SoftCpuRights, DecideAboutAnAccess) {
  const Rights& rights = GetParam();
  PagingMachine machine;
  machine.put(PagingMachine::entry[1], PagingMachine::frame_at | rights.leaf);
  CpuState& state = machine.cpu.state();
  state.cr0 = rights.write_protect ? state.cr0 | cr0_write_protect : state.cr0 & ~cr0_write_protect;
  state.cr4 |= rights.cr4;
  if (!rights.nxe) state.efer &= ~efer_no_execute;
  if (rights.ac) state.set_rflags(rflags_ac);
  machine.cpu.state_changed();
  access(machine, rights.does, rights.ring);
  expect_fault(machine, rights.error);
}

constexpr std::uint64_t p = 1;
INSTANTIATE_TEST_SUITE_P(
    Supervisor, SoftCpuRights,
    testing::Values(Rights{p, 0, Does::read, none}, Rights{p, 0, Does::write, 3},
                    Rights{p | u, 0, Does::write, 3}, Rights{p, 0, Does::write, none, false},
                    Rights{p | u, 0, Does::write, none, false}, Rights{p, 0, Does::execute, none},
                    Rights{p | nx, 0, Does::execute, 0x11}, Rights{p | nx, 0, Does::read, none},
                    Rights{0, 0, Does::execute, 0x10}, Rights{0, 0, Does::write, 2}));
INSTANTIATE_TEST_SUITE_P(
    User, SoftCpuRights,
    testing::Values(Rights{p | u, 3, Does::read, none}, Rights{p | u, 3, Does::write, 7},
                    Rights{p | u, 3, Does::write, 7, false},
                    Rights{p | u | w, 3, Does::write, none}, Rights{p | w, 3, Does::read, 5},
                    Rights{p | w, 3, Does::write, 7}, Rights{p | w, 3, Does::execute, 0x15},
                    Rights{p | u | nx, 3, Does::execute, 0x15},
                    Rights{p | u, 3, Does::execute, none}, Rights{0, 3, Does::write, 6}));
INSTANTIATE_TEST_SUITE_P(
    SmepAndSmap, SoftCpuRights,
    testing::Values(Rights{p | u, 0, Does::execute, none},
                    Rights{p | u, 0, Does::execute, 0x11, true, cr4_smep},
                    Rights{p | u, 0, Does::execute, 0x11, true, cr4_smep, true},
                    Rights{p | u, 0, Does::execute, 0x11, true, cr4_smep, false, false},
                    Rights{p, 0, Does::execute, none, true, cr4_smep},
                    Rights{p | u, 3, Does::execute, none, true, cr4_smep},
                    Rights{p | u, 0, Does::execute, none, true, cr4_smap},
                    Rights{p | u, 0, Does::read, 1, true, cr4_smap},
                    Rights{p | u | w, 0, Does::write, 3, true, cr4_smap},
                    Rights{p | u, 0, Does::write, 3, false, cr4_smap},
                    Rights{p | u, 0, Does::read, none, true, cr4_smap, true},
                    Rights{p | u | w, 0, Does::write, none, true, cr4_smap, true},
                    Rights{p | u, 0, Does::write, 3, true, cr4_smap, true},
                    Rights{p, 0, Does::read, none, true, cr4_smap},
                    Rights{p | u, 3, Does::read, none, true, cr4_smap}));
INSTANTIATE_TEST_SUITE_P(ReservedBits, SoftCpuRights,
                         testing::Values(Rights{p | nx, 0, Does::read, 9, true, 0, false, false},
                                         Rights{p | u | nx, 3, Does::write, 0xf, true, 0, false,
                                                false},
                                         Rights{p | 1ULL << 46, 0, Does::read, 9},
                                         Rights{p | u | 1ULL << 51, 3, Does::execute, 0x1d},
                                         Rights{p | 0x7fULL << 52, 0, Does::read, none},
                                         Rights{0, 0, Does::execute, 0, true, 0, false, false}));

class SoftCpuLevel : public testing::TestWithParam<unsigned> {};

TEST_P(SoftCpuLevel, EachAloneCanForbid) {
  const std::uint64_t at = PagingMachine::entry[GetParam()];
  const auto change = [&](std::uint64_t cleared, std::uint64_t set, Does does, std::int64_t error) {
    SCOPED_TRACE(error);
    PagingMachine machine;
    machine.put(at, (machine.get(at) & ~cleared) | set);
    access(machine, does, 3);
    expect_fault(machine, error);
  };
  change(0, 0, Does::write, none);
  change(w, 0, Does::write, 7);
  change(w, 0, Does::read, none);
  change(u, 0, Does::read, 5);
  change(0, nx, Does::execute, 0x15);
  change(0, nx, Does::write, none);
  change(1, 0, Does::write, 6);
  change(0, 1ULL << 50, Does::write, 0xf);
}

TEST_P(SoftCpuLevel, IsMarkedAccessedAndTheLeafAloneDirtyAndByWritesOnly) {
  for (const Does does : {Does::read, Does::execute, Does::write}) {
    PagingMachine machine;
    access(machine, does, 3);
    expect_fault(machine, none);
    const bool dirty = GetParam() == 1 && does == Does::write;
    EXPECT_EQ(machine.get(PagingMachine::entry[GetParam()]) & 0x60, dirty ? 0x60 : 0x20);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, SoftCpuLevel, testing::Values(1, 2, 3, 4));

TEST(SoftCpuPageTables, AnAccessThatIsDeniedDoesNotMarkThePage) {
  PagingMachine machine;
  machine.put(PagingMachine::entry[1], PagingMachine::frame_at | 5);
  access(machine, Does::write, 3);
  expect_fault(machine, 7);
  EXPECT_EQ(machine.get(PagingMachine::entry[1]) & 0x60, 0);
}

TEST(SoftCpuPageTables, ACompareThatFailsIsAWrite) {
  PagingMachine machine;
  machine.code({0xf0, 0x48, 0x0f, 0xb1, 0x33, 0xcd, 0x80}); // lock cmpxchg [rbx], rsi
  machine.cpu.state().gpr[rax] = 1;
  expect_fault(machine, none);
  EXPECT_EQ(machine.get(PagingMachine::entry[1]) & 0x60, 0x60);
}

/// Level 2: 2 MiB, level 3: 1 GiB. Either is mapped from guest physical address 0.
class SoftCpuLargePage : public testing::TestWithParam<unsigned> {};

TEST_P(SoftCpuLargePage, MapsAllOfIt) {
  const std::uint64_t at = PagingMachine::entry[GetParam()];
  PagingMachine machine;
  machine.put(at, 7 | large | 0x1000); // with its PAT bit
  machine.put(0xe8008, 77);
  CpuState& state = machine.cpu.state();
  state.gpr[rbx] = PagingMachine::far_at + 0xe8008;
  access(machine, Does::read, 3);
  expect_fault(machine, none);
  EXPECT_EQ(state.gpr[rax], 77);
  EXPECT_EQ(machine.get(at) & 0x60, 0x20);
  state.gpr[rsi] = 78;
  access(machine, Does::write, 3);
  expect_fault(machine, none);
  EXPECT_EQ(machine.get(0xe8008), 78);
  EXPECT_EQ(machine.get(at) & 0x60, 0x60);
}

TEST_P(SoftCpuLargePage, IsForgottenAsAWhole) {
  const std::uint64_t at = PagingMachine::entry[GetParam()];
  const unsigned shift = 12 + 9 * (GetParam() - 1);
  PagingMachine machine;
  machine.put(at, 7 | large);
  // mov rax,[rbx]; mov [rsi],rdi; invlpg [rcx]; mov rax,[rbx]: the entry goes away by another address of it
  machine.code({0x48, 0x8b, 0x03, 0x48, 0x89, 0x3e, 0x0f, 0x01, 0x39, 0x48, 0x8b, 0x03});
  CpuState& state = machine.cpu.state();
  state.gpr[rsi] = at, state.gpr[rdi] = 0;
  state.gpr[rcx] = PagingMachine::far_at + (1ULL << shift) - 4096;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_page_fault, 0));
  EXPECT_EQ(taken.rip, M::code_at + 9);
}

TEST_P(SoftCpuLargePage, HasReservedBits) {
  const unsigned shift = 12 + 9 * (GetParam() - 1);
  for (const unsigned bit : {13U, shift - 1, 46U}) {
    PagingMachine machine;
    machine.put(PagingMachine::entry[GetParam()], 7 | large | 1ULL << bit);
    access(machine, Does::read, 3);
    expect_fault(machine, 0xd);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, SoftCpuLargePage, testing::Values(2, 3));

TEST(SoftCpuPageTables, AnEntryOfTheTopLevelIsNeverLarge) {
  PagingMachine machine;
  machine.put(PagingMachine::entry[4], 0x50007 | large);
  access(machine, Does::read, 3);
  expect_fault(machine, 0xd);
}

TEST(SoftCpuPageTables, SettingWriteProtectTakesEffectAtOnce) {
  PagingMachine machine;
  machine.put(PagingMachine::entry[1], PagingMachine::frame_at | 1);
  // mov [rbx],rax; mov cr0,rcx; mov [rbx],rax
  machine.code({0x48, 0x89, 0x03, 0x0f, 0x22, 0xc1, 0x48, 0x89, 0x03});
  CpuState& state = machine.cpu.state();
  state.gpr[rcx] = state.cr0 | cr0_write_protect;
  state.cr0 &= ~cr0_write_protect;
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_page_fault, 3));
  EXPECT_EQ(taken.rip, M::code_at + 6);
}

// Every way to lose RFLAGS.AC: translations made while it was set are not to be used.

struct LosesAc {
  const char* how;
  std::vector<int> code;

  friend void PrintTo(const LosesAc& way, std::ostream* out) { *out << way.how; }
};

class SoftCpuSmap : public testing::TestWithParam<LosesAc> {};

TEST_P(SoftCpuSmap, HoldsAgainOnceAcIsClear) {
  PagingMachine machine;
  machine.code({0x0f, 0x01, 0xcb, 0x48, 0x8b, 0x03}); // stac; mov rax, [rbx]
  machine.code(GetParam().code, M::code_at + 6);
  machine.code({0x48, 0x8b, 0x03, 0xcd, 0x80}, 0x1800); // mov rax, [rbx]
  CpuState& state = machine.cpu.state();
  state.cr4 |= cr4_smap;
  state.lstar = 0x1800, state.star = 0x0028001000000000, state.sfmask = rflags_ac;
  const std::uint64_t frame[] = {0x1800, 0x10, 2, 0x7e00, 0x18};
  for (std::size_t i = 0; i < std::size(frame); ++i) machine.put(0x7f00 + 8 * i, frame[i]);
  state.gpr[rsp] = 0x7f00;
  machine.cpu.state_changed();
  const Taken taken = machine.take();
  EXPECT_EQ(taken, vector_with_error(vector_page_fault, 1));
  EXPECT_EQ(taken.rip, 0x1800);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, SoftCpuSmap,
    testing::Values(LosesAc{"Clac", {0x0f, 0x01, 0xca, 0xe9, 0xf2, 0x07, 0x00, 0x00}},
                    LosesAc{"Popfq", {0x6a, 0x02, 0x9d, 0xe9, 0xf2, 0x07, 0x00, 0x00}},
                    LosesAc{"Iretq", {0x48, 0xcf}}, LosesAc{"Syscall", {0x0f, 0x05}}),
    [](const auto& chosen) { return std::string(chosen.param.how); });

TEST(SoftCpuPageTables, TheBitmapOfTheTaskIsReadWithoutAcAndInSpiteOfRing3) {
  for (const bool user_page : {false, true}) {
    SystemMachine machine;
    machine.protect();
    machine.put(M::pte(0xc000), 0xc003);
    machine.put(M::pte(0xd000), 0xd003 | (user_page ? u : 0));
    machine.code({0xec, 0xcd, 0x80}, M::user_at); // in al, dx
    CpuState& state = machine.cpu.state();
    machine.put(0xcf98 + 4, M::kernel_stack); // the TSS ends with its page, the bitmap is behind it
    machine.put(0xcf98 + 0x60, 0x68ULL << 48);
    state.task.base = 0xcf98, state.task.limit = 0x268;
    state.cr4 |= cr4_smap;
    machine.enter_ring3();
    state.set_rflags(rflags_ac);
    const Exit exit = machine.cpu.run();
    if (!user_page) {
      EXPECT_TRUE(std::holds_alternative<kvm::IoIn>(exit));
      continue;
    }
    EXPECT_EQ(machine.taken(state), vector_with_error(vector_page_fault, 1));
    EXPECT_EQ(state.cr2, 0xd000);
  }
}

TEST(SoftCpuPageTables, ATableOutsideOfMemoryStopsWithAReport) {
  PagingMachine machine;
  machine.put(PagingMachine::entry[3], M::device_at | 7);
  access(machine, Does::read, 3);
  const Exit exit = machine.cpu.run();
  const auto* stopped = std::get_if<Unsupported>(&exit);
  ASSERT_NE(stopped, nullptr);
  EXPECT_EQ(stopped->rip, M::user_at);
}

} // namespace
} // namespace slat::test
