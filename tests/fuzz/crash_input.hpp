// The head of an input of fuzz_crash_report; page content follows, from guest physical address 0.
#pragma once

#include <cstdint>

struct CrashInput {
  std::uint64_t rip;
  std::uint64_t cr0;
  std::uint64_t cr3;
  std::uint64_t cr4;
  std::uint64_t efer;
  std::uint64_t cs_base;
  std::uint32_t flags; // bit 0: CS.L, bit 1: CS.D; all of it is the CPL
  std::uint32_t unused;
};
