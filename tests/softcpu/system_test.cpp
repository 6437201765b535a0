// Paging, exceptions, devices and requests of a software vCPU, in programs of a few instructions.
#include "machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;

constexpr std::uint64_t data_at = SmallMachine::data_at, code_at = SmallMachine::code_at;

bool halted(const Exit& exit) {
  return std::holds_alternative<kvm::Hlt>(exit);
}

TEST(SoftCpuPaging, AReadSetsAccessedAndAWriteDirty) {
  SmallMachine machine;
  machine.code({0x48, 0x8b, 0x03, 0x48, 0x89, 0x01, 0xf4}); // mov rax,[rbx]; mov [rcx],rax; hlt
  machine.cpu.state().gpr[rbx] = data_at;
  machine.cpu.state().gpr[rcx] = data_at + 4096;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.get(SmallMachine::pte(data_at)) & 0x60, 0x20);
  EXPECT_EQ(machine.get(SmallMachine::pte(data_at + 4096)) & 0x60, 0x60);
  EXPECT_EQ(machine.get(SmallMachine::pte(data_at + 8192)) & 0x60, 0);
}

TEST(SoftCpuPaging, AWriteAfterAReadStillSetsDirty) {
  SmallMachine machine;
  machine.code({0x48, 0x8b, 0x03, 0xf4, 0x48, 0x89, 0x03, 0xf4});
  machine.cpu.state().gpr[rbx] = data_at;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.get(SmallMachine::pte(data_at)) & 0x40, 0);
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.get(SmallMachine::pte(data_at)) & 0x40, 0x40);
}

struct Denied {
  std::uint64_t entry; // of the data page
  bool write;
  std::uint64_t error;
};

class SoftCpuPageFault : public testing::TestWithParam<Denied> {};

TEST_P(SoftCpuPageFault, HasItsAddressAndErrorCodeAndTheInstructionIsNotDone) {
  SmallMachine machine;
  machine.handle(14, 0x5000);
  machine.code({0xf4}, 0x5000);
  const int opcode = GetParam().write ? 0x89 : 0x8b;
  machine.code({0x48, opcode, 0x43, 0x08, 0xf4}); // mov [rbx + 8], rax or the other way round
  machine.put(SmallMachine::pte(data_at), GetParam().entry);
  machine.cpu.state().gpr[rbx] = data_at;
  machine.cpu.state().gpr[rax] = 77;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().rip, 0x5001);
  EXPECT_EQ(machine.cpu.state().cr2, data_at + 8);
  EXPECT_EQ(machine.cpu.state().gpr[rax], 77);
  const std::uint64_t frame = machine.cpu.state().gpr[rsp];
  EXPECT_EQ(machine.get(frame), GetParam().error);
  EXPECT_EQ(machine.get(frame + 8), code_at); // rip
  EXPECT_EQ(machine.get(frame + 32), SmallMachine::stack_top);
}

INSTANTIATE_TEST_SUITE_P(Entries, SoftCpuPageFault,
                         testing::Values(Denied{0, false, 0}, Denied{0, true, 2},
                                         Denied{data_at | 5, true, 3},
                                         Denied{data_at & 6, true, 2}));

TEST(SoftCpuPaging, InvlpgShowsTheNewPage) {
  SmallMachine machine;
  machine.put(data_at, 1);
  machine.put(data_at + 4096, 2);
  machine.put(data_at + 8192, data_at | 4096 | 7); // the new entry
  // mov rax,[rbx]; mov rdx,[rsi]; mov [rdi],rdx; invlpg [rbx]; mov rcx,[rbx]; hlt
  machine.code({0x48, 0x8b, 0x03, 0x48, 0x8b, 0x16, 0x48, 0x89, 0x17, 0x0f, 0x01, 0x3b, 0x48, 0x8b,
                0x0b, 0xf4});
  CpuState& state = machine.cpu.state();
  state.gpr[rbx] = data_at, state.gpr[rsi] = data_at + 8192;
  state.gpr[rdi] = SmallMachine::pte(data_at);
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(state.gpr[rax], 1);
  EXPECT_EQ(state.gpr[rcx], 2);
}

TEST(SoftCpuPaging, I36_AFlushOfAVcpuOutOfGuestModeIsOverAtOnceAndTakesEffectOnEntry) {
  SmallMachine machine;
  machine.put(data_at, 1);
  machine.put(data_at + 4096, 2);
  machine.code({0x48, 0x8b, 0x03, 0xf4, 0x48, 0x8b, 0x03, 0xf4});
  machine.cpu.state().gpr[rbx] = data_at;
  EXPECT_TRUE(halted(machine.cpu.run()));
  machine.put(SmallMachine::pte(data_at), (data_at + 4096) | 7);
  machine.cpu.flush().wait(machine.cpu.flush().request()); // at once: it is out of guest mode
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().gpr[rax], 2);
}

TEST(SoftCpuPaging, PcidsKeepTranslationsApart) {
  SmallMachine machine;
  machine.put(data_at, 1);
  machine.put(data_at + 4096, 2);
  // A second space: the same upper tables with another leaf table for the first 2 MiB.
  constexpr std::uint64_t other = 0x50000;
  std::memcpy(machine.ram + other, machine.ram + SmallMachine::tables_at, 0x4000);
  machine.put(other, other + 0x1007);
  machine.put(other + 0x1000, other + 0x2007);
  machine.put(other + 0x2000, other + 0x3007);
  machine.put(other + 0x3000 + data_at / 4096 * 8, (data_at + 4096) | 7);
  // mov rax,[rbx]; mov cr3,rdx; mov rcx,[rbx]; mov cr3,rsi; mov rdi,[rbx]; hlt
  machine.code({0x48, 0x8b, 0x03, 0x0f, 0x22, 0xda, 0x48, 0x8b, 0x0b, 0x0f, 0x22, 0xde, 0x48, 0x8b,
                0x3b, 0xf4});
  CpuState& state = machine.cpu.state();
  state.cr4 |= cr4_pcid;
  machine.cpu.state_changed();
  state.gpr[rbx] = data_at;
  state.gpr[rdx] = other | 5;
  state.gpr[rsi] = SmallMachine::tables_at | 1ULL << 63;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(state.gpr[rax], 1);
  EXPECT_EQ(state.gpr[rcx], 2);
  EXPECT_EQ(state.gpr[rdi], 1);
}

TEST(SoftCpuCode, ABlockIsDroppedWhenItsBytesChange) {
  SmallMachine machine;
  // mov byte [rbx], 2; jmp over to 0x1010: mov al, 1; hlt. The byte is mov's immediate.
  machine.code({0xeb, 0x0e});
  machine.code({0xb0, 0x01, 0xf4}, code_at + 0x10);
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().gpr[rax], 1);
  machine.code({0xc6, 0x03, 0x02, 0xeb, 0x0b}); // by the guest itself
  machine.cpu.state().rip = code_at;
  machine.cpu.state().gpr[rbx] = code_at + 0x11;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().gpr[rax], 2);
  machine.code({0xb0, 0x03}, code_at + 0x10); // by the host
  machine.cpu.state().rip = code_at + 0x10;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().gpr[rax], 3);
}

TEST(SoftCpuCode, UnchangedCodeIsDecodedOnce) {
  SmallMachine machine;
  machine.code({0xff, 0xc9, 0x75, 0xfc, 0xf4}); // dec ecx; jne; hlt
  machine.cpu.state().gpr[rcx] = 1000;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.blocks_decoded(), 2);
  EXPECT_EQ(machine.cpu.instructions(), 2000);
}

TEST(SoftCpuCode, AnInstructionMayLieOnTwoPages) {
  SmallMachine machine;
  // mov rax, imm64, from 3 bytes before the end of the page; frames are not neighbours
  machine.code({0x48, 0xb8, 0x11}, 0x1ffd);
  machine.code({0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0xf4}, 0x9000);
  machine.put(SmallMachine::pte(0x2000), 0x9007);
  machine.cpu.state().rip = 0x1ffd;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().gpr[rax], 0x8877665544332211);
}

TEST(SoftCpuCode, NoExecuteFaults) {
  SmallMachine machine;
  machine.handle(14, 0x5000);
  machine.code({0xf4}, 0x5000);
  machine.code({0xe9, 0xfb, 0xef, 0, 0}); // jmp data_at
  machine.put(SmallMachine::pte(data_at), data_at | 7 | 1ULL << 63);
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().cr2, data_at);
  EXPECT_EQ(machine.get(machine.cpu.state().gpr[rsp]), 0x11);
}

TEST(SoftCpuCode, AnUnsupportedInstructionIsNamed) {
  SmallMachine machine;
  machine.code({0x90, 0x0f, 0x58, 0xc1}); // nop; addps
  const Exit exit = machine.cpu.run();
  const auto* unsupported = std::get_if<Unsupported>(&exit);
  ASSERT_NE(unsupported, nullptr);
  EXPECT_EQ(unsupported->rip, code_at + 1);
  EXPECT_THAT(unsupported->what, testing::HasSubstr("addps"));
}

TEST(SoftCpuException, IretToRing3AndBackByAnInterrupt) {
  SmallMachine machine;
  machine.handle(0x80, 0x5000);
  machine.code({0xf4}, 0x5000);
  machine.code({0x48, 0xcf});               // iretq
  machine.code({0xcd, 0x80, 0x90}, 0x6000); // int 0x80
  const std::uint64_t frame[] = {0x6000, 0x3b, 0x202, 0x7800, 0x33};
  for (std::size_t i = 0; i < 5; ++i) machine.put(0x7f00 + 8 * i, frame[i]);
  machine.cpu.state().gpr[rsp] = 0x7f00;
  EXPECT_TRUE(halted(machine.cpu.run()));
  const CpuState& state = machine.cpu.state();
  EXPECT_EQ(state.cpl, 0);
  EXPECT_EQ(state.gpr[rsp], 0x7000 - 40); // the TSS's stack
  EXPECT_EQ(machine.get(0x7000 - 40), 0x6002);
  EXPECT_EQ(machine.get(0x7000 - 32), 0x3b);
  EXPECT_EQ(machine.get(0x7000 - 16), 0x7800);
  EXPECT_EQ(machine.get(0x7000 - 8), 0x33);
}

TEST(SoftCpuException, Ring3MayNotHalt) {
  SmallMachine machine;
  machine.handle(13, 0x5000);
  machine.code({0xf4}, 0x5000);
  machine.code({0xf4});
  CpuState& state = machine.cpu.state();
  state.cpl = 3;
  state.segments[cs] = vmm::user_code;
  state.segments[ss] = vmm::user_data;
  machine.cpu.state_changed();
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(state.rip, 0x5001);
  EXPECT_EQ(machine.get(state.gpr[rsp] + 8), code_at);
}

TEST(SoftCpuException, AnInterruptWaitsForSti) {
  SmallMachine machine;
  machine.handle(0x20, 0x5000);
  machine.code({0xf4}, 0x5000);
  machine.code({0x90, 0xfb, 0x90, 0xf4}); // nop; sti; nop; hlt
  EXPECT_TRUE(machine.cpu.interrupt(0x20));
  EXPECT_FALSE(machine.cpu.interrupt(0x21));
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_NE(machine.cpu.state().rip, 0x5001); // the shadow of sti covers what follows
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().rip, 0x5001);
  EXPECT_EQ(machine.cpu.state().rflags() & rflags_if, 0);
}

TEST(SoftCpuDevice, PortsAreExitsThatCompleteOnTheNextRun) {
  SmallMachine machine;
  machine.code({0xec, 0xe6, 0x42, 0xf4}); // in al, dx; out 0x42, al; hlt
  machine.cpu.state().gpr[rdx] = 0x3fd;
  Exit exit = machine.cpu.run();
  auto* in = std::get_if<kvm::IoIn>(&exit);
  ASSERT_NE(in, nullptr);
  EXPECT_EQ(in->port, 0x3fd);
  in->data[0] = std::byte{0x5a};
  exit = machine.cpu.run();
  const auto* out = std::get_if<kvm::IoOut>(&exit);
  ASSERT_NE(out, nullptr);
  EXPECT_EQ(out->port, 0x42);
  EXPECT_EQ(out->data[0], std::byte{0x5a});
  EXPECT_TRUE(halted(machine.cpu.run()));
}

TEST(SoftCpuDevice, AReadModifyWriteOfADeviceIsARealReadAndOneWrite) {
  SmallMachine machine;
  machine.code({0x83, 0x03, 0x05, 0xf4}); // add dword [rbx], 5; hlt
  machine.cpu.state().gpr[rbx] = SmallMachine::device_at + 4;
  Exit exit = machine.cpu.run();
  auto* read = std::get_if<kvm::MmioRead>(&exit);
  ASSERT_NE(read, nullptr);
  EXPECT_EQ(read->gpa, SmallMachine::device_at + 4);
  EXPECT_EQ(read->size, 4);
  read->data[0] = std::byte{40};
  exit = machine.cpu.run();
  const auto* write = std::get_if<kvm::MmioWrite>(&exit);
  ASSERT_NE(write, nullptr);
  EXPECT_EQ(write->data[0], std::byte{45});
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(machine.cpu.state().flags.zf(), false);
}

TEST(SoftCpuDevice, ARepeatedOutGoesOnWhereItWas) {
  SmallMachine machine;
  machine.code({0xf3, 0x6e, 0xf4}); // rep outsb; hlt
  std::memcpy(machine.ram + data_at, "abc", 3);
  CpuState& state = machine.cpu.state();
  state.gpr[rdx] = 0x3f8, state.gpr[rsi] = data_at, state.gpr[rcx] = 3;
  std::string text;
  for (;;) {
    const Exit exit = machine.cpu.run();
    const auto* out = std::get_if<kvm::IoOut>(&exit);
    if (out == nullptr) break;
    text += static_cast<char>(out->data[0]);
  }
  EXPECT_EQ(text, "abc");
  EXPECT_EQ(state.gpr[rcx], 0);
  EXPECT_EQ(state.gpr[rsi], data_at + 3);
}

TEST(SoftCpuRequest, AnExitRequestEndsALoop) {
  SmallMachine machine;
  machine.code({0xeb, 0xfe}); // jmp to itself
  std::thread other([&] { machine.cpu.request_exit(); });
  EXPECT_TRUE(std::holds_alternative<kvm::Interrupted>(machine.cpu.run()));
  other.join();
}

TEST(SoftCpuString, AFaultInTheMiddleLeavesWhatIsDone) {
  SmallMachine machine;
  machine.handle(14, 0x5000);
  machine.code({0xf4}, 0x5000);
  machine.code({0xf3, 0xaa}); // rep stosb
  machine.put(SmallMachine::pte(data_at + 4096), 0);
  CpuState& state = machine.cpu.state();
  state.gpr[rdi] = data_at + 4090, state.gpr[rcx] = 20, state.gpr[rax] = 0x77;
  EXPECT_TRUE(halted(machine.cpu.run()));
  EXPECT_EQ(state.cr2, data_at + 4096);
  EXPECT_EQ(state.gpr[rcx], 14);
  EXPECT_EQ(state.gpr[rdi], data_at + 4096);
}

} // namespace
} // namespace slat::test
