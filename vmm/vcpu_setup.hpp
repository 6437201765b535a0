// Puts a KVM vCPU into the state in which a kernel image expects it.
#pragma once

#include "kvm/system.hpp"
#include "kvm/vcpu.hpp"
#include "vmm/boot_tables.hpp"
#include "vmm/crash_report.hpp"

#include <vector>

namespace slat::vmm {

/// What CPUID shows to vCPU `index` of `count`: what KVM supports, with the vCPU's APIC id, the number of processors, and
/// the TSC frequency in leaf 0x40000010 (`tsc_khz`; 0 leaves the leaf out).
[[nodiscard]] std::vector<kvm_cpuid_entry2> guest_cpuid(std::vector<kvm_cpuid_entry2> supported,
                                                        unsigned index, unsigned count,
                                                        std::uint32_t tsc_khz);

/// Sets registers for 64-bit mode at the entry. Errors: host_failed.
Result<void> set_entry_state(kvm::Vcpu& vcpu, const EntryState& entry);

/// The registers for a crash report. What cannot be read is 0.
[[nodiscard]] CrashRegisters crash_registers(kvm::Vcpu& vcpu);

} // namespace slat::vmm
