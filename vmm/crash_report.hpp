// What the user sees of a vCPU that cannot go on.
#pragma once

#include "vmm/guest_memory.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace slat::vmm {

struct CrashSegment {
  std::uint16_t selector;
  std::uint64_t base;
};

struct CrashRegisters {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rip, rflags;
  std::uint64_t cr0, cr2, cr3, cr4, efer;
  CrashSegment cs, ds, es, fs, gs, ss;
  bool cs_long = true; // CS.L: 64-bit code, where EFER.LMA is set
  bool cs_big = true;  // CS.D: 32-bit code, where it is not 64-bit
  unsigned cpl = 0;
};

/// A report of several lines, each of at most 80 columns and ended by a newline: `cause` (wrapped;
/// what is not printable becomes '?'), the registers, the bytes at rip as far as they can be read
/// through the guest's page tables, and up to 5 instructions from there. Any values and page tables
/// are safe; what cannot be read is said in place. May sleep.
[[nodiscard]] std::string crash_report(std::string_view cause, const CrashRegisters& registers,
                                       GuestMemory& memory);

/// The instruction at rip, disassembled; or why there is none to show. Any values and page tables are safe. May sleep.
[[nodiscard]] std::string instruction_at(const CrashRegisters& registers, GuestMemory& memory);

} // namespace slat::vmm
