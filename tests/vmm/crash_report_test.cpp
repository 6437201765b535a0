#include "vmm/crash_report.hpp"

#include "fake_guest_memory.hpp"
#include "vmm/boot_tables.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <sstream>

namespace slat::vmm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

void expect_readable(const std::string& report) {
  ASSERT_FALSE(report.empty());
  EXPECT_EQ(report.back(), '\n');
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80U) << line;
    for (const char c : line) ASSERT_TRUE(c >= 0x20 && c < 0x7f) << line;
  }
}

class CrashReport : public ::testing::Test {
 protected:
  CrashReport() {
    const auto state = write_boot_tables(memory_, 0x200000);
    registers_.rip = 0x200000;
    registers_.cr0 = state->cr0;
    registers_.cr3 = state->cr3;
    registers_.cr4 = state->cr4;
    registers_.efer = state->efer;
    registers_.cs.selector = 0x10;
  }

  std::string report(std::string_view cause = "vCPU 0: triple fault") {
    auto text = crash_report(cause, registers_, memory_);
    expect_readable(text);
    return text;
  }

  FakeGuestMemory memory_{16 * mib};
  CrashRegisters registers_{};
};

TEST_F(CrashReport, BeginsWithTheCauseAndHasTheRegisters) {
  registers_.rax = 0x1122334455667788;
  registers_.r15 = 0xfedcba9876543210;
  registers_.cr2 = 0xdead0000;
  registers_.gs = {0x1b, 0xffff888000001000};
  registers_.cpl = 3;
  const auto text = report();
  EXPECT_THAT(text, StartsWith("vCPU 0: triple fault\n"));
  EXPECT_THAT(text, HasSubstr("rax 1122334455667788"));
  EXPECT_THAT(text, HasSubstr("r15 fedcba9876543210"));
  EXPECT_THAT(text, HasSubstr("cr2 00000000dead0000"));
  EXPECT_THAT(text, HasSubstr("gs 001b base ffff888000001000"));
  EXPECT_THAT(text, HasSubstr("cpl 3"));
}

TEST_F(CrashReport, DisassemblesFiveInstructionsFromRip) {
  // xor eax, eax; mov rbx, [rcx]; ud2; nop; hlt; ret
  memory_.put(0x200000, std::array<std::uint8_t, 10>{0x31, 0xc0, 0x48, 0x8b, 0x19, 0x0f, 0x0b, 0x90,
                                                     0xf4, 0xc3});
  const auto text = report();
  EXPECT_THAT(text, HasSubstr("code at rip: 31 c0 48 8b 19 0f 0b 90 f4 c3"));
  EXPECT_THAT(text, HasSubstr("  0000000000200000  xor eax, eax\n"));
  EXPECT_THAT(text, HasSubstr("  0000000000200002  mov rbx, [rcx]\n"));
  EXPECT_THAT(text, HasSubstr("  0000000000200005  ud2\n"));
  EXPECT_THAT(text, HasSubstr("hlt\n"));
  EXPECT_THAT(text, Not(HasSubstr("ret")));
}

TEST_F(CrashReport, ReadsThroughTheGuestsPageTablesAndNotPhysically) {
  // The second 2 MiB of linear addresses lead to the fifth.
  memory_.put(page_tables_address + 0x2000 + 8, std::uint64_t{0x800087});
  memory_.put(0x800000, std::array<std::uint8_t, 2>{0x0f, 0x0b});
  EXPECT_THAT(report(), HasSubstr("ud2"));
}

TEST_F(CrashReport, SaysWhyTheCodeIsNotReadable) {
  registers_.rip = 0xffff800000000000;
  EXPECT_THAT(
      report(),
      HasSubstr("code at rip: not readable\n  the level 4 entry 0x0 at 0x30800 is not present"));
  registers_.rip = 0x1234567890123456;
  EXPECT_THAT(report(), HasSubstr("is not canonical"));
  registers_.rip = 0xd0000000; // mapped, but a device's
  EXPECT_THAT(report(), HasSubstr("guest physical address 0xd0000000 cannot be read"));
  registers_.cr3 = 0x7ffffffff000;
  EXPECT_THAT(report(), HasSubstr("level 4 page table at 0x7ffffffff000"));
}

TEST_F(CrashReport, ShowsWhatIsReadableBeforeAHole) {
  registers_.rip = 16 * mib - 3;
  memory_.put(registers_.rip,
              std::array<std::uint8_t, 3>{0x90, 0x48, 0xb8}); // nop; the start of a mov
  const auto text = report();
  EXPECT_THAT(text, HasSubstr("code at rip: 90 48 b8\n"));
  EXPECT_THAT(text, HasSubstr("nop\n"));
  EXPECT_THAT(text, HasSubstr("(goes on past what can be read)"));
}

TEST_F(CrashReport, SaysWhereThereIsNoInstruction) {
  memory_.put(0x200000, std::array<std::uint8_t, 2>{0x06, 0x06}); // push es: not in 64-bit mode
  EXPECT_THAT(report(), HasSubstr("(no valid instruction)"));
}

TEST_F(CrashReport, GivesTheInstructionAtRipAlone) {
  memory_.put(0x200000, std::array<std::uint8_t, 3>{0xeb, 0xfe, 0x90}); // jmp $; nop
  EXPECT_EQ(instruction_at(registers_, memory_), "jmp 0x0000000000200000");
  memory_.put(0x200000, std::array<std::uint8_t, 2>{0x06, 0x06}); // push es: not in 64-bit mode
  EXPECT_EQ(instruction_at(registers_, memory_), "no valid instruction");
  registers_.rip = 0xffff800000000000;
  EXPECT_THAT(instruction_at(registers_, memory_), HasSubstr("is not present"));
}

TEST_F(CrashReport, CutsAnInstructionThatIsLongerThanALine) {
  // vfmaddsub213ps zmm17 {k1} {z}, zmm18, [r12+r13*8-0x12345678] {1to16}
  memory_.put(0x200000, std::array<std::uint8_t, 11>{0x62, 0x82, 0x6d, 0xd1, 0xa6, 0x8c, 0xec, 0x88,
                                                     0xa9, 0xcb, 0xed});
  EXPECT_THAT(report(), HasSubstr("vfmaddsub213ps"));
}

TEST_F(CrashReport, DecodesInTheModeOfTheCodeSegment) {
  registers_.cr0 = 0x11;
  registers_.efer = 0;
  registers_.cs.base = 0x100000;
  registers_.rip = 0x100000;
  memory_.put(0x200000, std::array<std::uint8_t, 6>{0xb8, 0x78, 0x56, 0x34, 0x12, 0xf4});
  EXPECT_THAT(report(), HasSubstr("mov eax, 0x12345678"));
  registers_.cr0 = 0x10;
  EXPECT_THAT(report(), HasSubstr("mov ax, 0x5678"));
}

TEST_F(CrashReport, KeepsALongOrDirtyCauseReadable) {
  EXPECT_THAT(report("a\nb\x1b[2J"), StartsWith("a?b?[2J\n"));
  report(std::string(5000, 'x'));
  EXPECT_THAT(report("vCPU 1: KVM_RUN failed with an internal error while emulating an instruction "
                     "of the guest"),
              HasSubstr("of\nthe guest\n"));
  report("");
}

TEST_F(CrashReport, SurvivesGarbageEverywhere) {
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> page(512);
  for (int round = 0; round < 300; ++round) {
    for (auto& word : page) word = random() & random() & 0xffffff;
    for (const Gpa at :
         {Gpa{0x1000}, page_tables_address, page_tables_address + 0x1000, Gpa{0x200000}})
      ASSERT_TRUE(memory_.write(at, std::as_bytes(std::span(page))));
    registers_.rip = random() >> (random() % 64);
    registers_.cr3 = round % 2 ? page_tables_address : random();
    registers_.cr4 = random();
    registers_.efer = random();
    registers_.cr0 = random();
    registers_.cs_long = round % 3 != 0;
    registers_.cs.base = random();
    registers_.cpl = static_cast<unsigned>(random());
    report();
  }
}

} // namespace
} // namespace slat::vmm
