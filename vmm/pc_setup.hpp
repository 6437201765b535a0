// What a kernel of its own finds in its processors, beyond what vcpu_setup.hpp gives to all guests.
#pragma once

#include "kvm/vcpu.hpp"

#include <vector>

namespace slat::vmm {

/// Makes the `count` processors cores of one socket, without threads, whose APIC ids are their indices, in all the
/// leaves where Intel and AMD tell that; shows that there is a hypervisor, and the timer by deadline where the in-kernel
/// APIC has it.
void show_pc(std::vector<kvm_cpuid_entry2>& cpuid, unsigned index, unsigned count,
             bool has_tsc_deadline);

/// What a firmware leaves in the model-specific registers: memory is cached, string instructions are fast. A host that
/// does not have one of them does without.
void set_pc_msrs(kvm::Vcpu& vcpu);

} // namespace slat::vmm
