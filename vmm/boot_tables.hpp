// What a vCPU needs to start in 64-bit mode: a GDT, a TSS and page tables that map memory one to
// one.
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstdint>

namespace slat::vmm {

/// A segment register with its hidden part, in the terms of the x86 manuals.
struct SegmentValue {
  std::uint16_t selector;
  std::uint8_t type; // 4 bits
  std::uint8_t dpl;
  bool code_or_data; // the S bit
  bool long_mode;    // L
  bool big;          // D/B
  bool granular;     // G
  std::uint64_t base;
  std::uint32_t limit; // bytes - 1, granularity applied
};

inline constexpr std::uint16_t kernel_code_selector = 0x10;
inline constexpr std::uint16_t kernel_data_selector = 0x18;
inline constexpr std::uint16_t task_selector = 0x20; // two slots wide
inline constexpr std::uint16_t user_data_selector = 0x33;
inline constexpr std::uint16_t user_code_selector = 0x3b; // after the data, as sysret wants it

inline constexpr SegmentValue kernel_code{
    kernel_code_selector, 11, 0, true, true, false, true, 0, UINT32_MAX};
inline constexpr SegmentValue kernel_data{
    kernel_data_selector, 3, 0, true, false, true, true, 0, UINT32_MAX};
inline constexpr SegmentValue user_data{user_data_selector, 3, 3, true, false, true, true, 0,
                                        UINT32_MAX};
inline constexpr SegmentValue user_code{user_code_selector, 11, 3, true, true, false, true, 0,
                                        UINT32_MAX};

struct DescriptorTable {
  Gpa base;
  std::uint16_t limit; // bytes - 1
};

/// Registers of a vCPU at its first instruction: 64-bit mode, CPL 0, interrupts off, no stack. What
/// is not here is 0.
struct EntryState {
  std::uint64_t rip;
  std::uint64_t rsi; // boot_params_address, for Linux
  std::uint64_t rdi; // 0: the caller's, for arguments of slat's own guests
  std::uint64_t rdx; // as rdi
  std::uint64_t rflags;
  std::uint64_t cr0;
  std::uint64_t cr3;
  std::uint64_t cr4;
  std::uint64_t efer;
  DescriptorTable gdt; // the IDT has base and limit 0: an exception is a triple fault until the
                       // guest sets its own
  SegmentValue code;
  SegmentValue data; // for ds, es, fs, gs and ss
  SegmentValue task;
};

/// The value of TR: an all-zero TSS, whose I/O bitmap allows nothing below IOPL.
[[nodiscard]] SegmentValue task_segment();

/// Bytes [0, end) that the boot page tables map for a guest with this much address space: whole
/// GiB, at least 4.
[[nodiscard]] std::uint64_t mapped_end(const GuestMemory& memory);

/// Writes the GDT with its TSS, and page tables (2 MiB pages, present, writable, user) that map [0,
/// mapped_end) one to one, devices included: two writes in all. Errc::invalid_argument where RAM
/// reaches too far for the tables. May sleep.
[[nodiscard]] Result<EntryState> write_boot_tables(GuestMemory& memory, Gpa entry);

} // namespace slat::vmm
