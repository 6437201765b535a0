// CpuState: the architectural state of one software vCPU.
#pragma once

#include "vmm/boot_tables.hpp"
#include "vmm/softcpu/flags.hpp"

#include <array>
#include <cstdint>

namespace slat::vmm::softcpu {

inline constexpr std::uint64_t cr0_write_protect = 1U << 16;
inline constexpr std::uint64_t cr0_alignment_mask = 1U << 18;
inline constexpr std::uint64_t cr4_pge = 1U << 7;
inline constexpr std::uint64_t cr4_fsgsbase = 1U << 16;
inline constexpr std::uint64_t cr4_pcid = 1U << 17;
inline constexpr std::uint64_t cr4_smep = 1U << 20;
inline constexpr std::uint64_t cr4_smap = 1U << 21;
inline constexpr std::uint64_t efer_syscall = 1U << 0;
inline constexpr std::uint64_t efer_long_mode = 1U << 8;
inline constexpr std::uint64_t efer_no_execute = 1U << 11;

inline constexpr std::uint64_t debug_status_fixed = 0xffff0ff0, debug_control_fixed = 0x400;
inline constexpr unsigned physical_address_bits = 46; // as CPUID says; those above are reserved

enum Gpr : std::uint8_t { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi };

// Slots of CpuState::gpr beyond the 16 registers, so that address arithmetic has no special case.
inline constexpr std::uint8_t zero_slot = 16; // always 0
inline constexpr std::size_t gpr_slots = 17;

enum SegmentIndex : std::uint8_t { es, cs, ss, ds, fs, gs }; // as instructions encode them

struct DescriptorTableRegister {
  std::uint64_t base = 0;
  std::uint16_t limit = 0; // bytes - 1
};

struct CpuState {
  std::array<std::uint64_t, gpr_slots> gpr{}; // by the number that instructions encode
  std::uint64_t rip = 0;
  Flags flags;                               // the arithmetic ones
  std::uint64_t system_flags = rflags_fixed; // the rest of RFLAGS
  std::array<SegmentValue, 6> segments{};
  SegmentValue task{};
  SegmentValue local_table{}; // LDTR: loaded and stored, never used
  DescriptorTableRegister gdt, idt;
  std::uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0;
  std::uint64_t efer = 0;
  std::uint64_t star = 0, lstar = 0, cstar = 0, sfmask = 0;
  std::uint64_t kernel_gs_base = 0;
  std::uint64_t tsc_aux = 0, tsc_offset = 0;
  std::uint64_t apic_base = 0xfee00900; // enabled, boot processor
  std::uint64_t pat = 0x0007040600070406;
  std::uint64_t sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  std::uint64_t misc_enable = 1; // fast strings
  std::array<std::uint64_t, 8> debug{0, 0, 0, 0, 0, 0, debug_status_fixed, debug_control_fixed};
  std::uint8_t cpl = 0;

  [[nodiscard]] std::uint64_t rflags() const { return system_flags | flags.get(); }

  void set_rflags(std::uint64_t value) {
    flags.set(value);
    system_flags = (value & ~rflags_arithmetic) | rflags_fixed;
  }
};

} // namespace slat::vmm::softcpu
