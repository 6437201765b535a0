// Puts a software vCPU into the state in which a kernel image expects it, and reads it back for reports.
#pragma once

#include "vmm/boot_tables.hpp"
#include "vmm/crash_report.hpp"
#include "vmm/softcpu/cpu.hpp"

namespace slat::vmm::softcpu {

/// Registers for 64-bit mode at the entry; all others are 0. Not while it runs.
void set_entry_state(Cpu& cpu, const EntryState& entry);

/// The registers for a crash report. Not while it runs.
[[nodiscard]] CrashRegisters crash_registers(Cpu& cpu);

} // namespace slat::vmm::softcpu
