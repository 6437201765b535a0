// Control and debug registers, MSRs, cpuid, TSC, hlt, cli and sti, TLB maintenance.
#include "vmm/guest_walk.hpp"
#include "vmm/softcpu/instruction.hpp"
#include "vmm/softcpu/msr.hpp"

namespace slat::vmm::softcpu {
namespace {

constexpr std::uint64_t cr4_tsd = 1U << 2;
constexpr std::uint64_t cr4_debug_extensions = 1U << 3;
constexpr std::uint64_t cr4_pae = 1U << 5;
// VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT FSGSBASE PCIDE SMEP SMAP
constexpr std::uint64_t cr4_known = 0x7ff | cr4_fsgsbase | cr4_pcid | cr4_smep | cr4_smap;
constexpr std::uint64_t cr3_keep = 1ULL << 63; // with PCIDs: do not flush
constexpr std::uint64_t cr0_task_switched = 1U << 3;

template <Flow (*Body)(Core&, const MicroOp&)> Flow privileged(Core& core, const MicroOp& op) {
  return core.state.cpl == 0 ? Body(core, op) : raise(core, vector_protection, 0);
}

Flow end_block(Core& core, const MicroOp& op) {
  core.state.rip = op.next_rip;
  return Flow::jump;
}

Flow read_control(Core& core, const MicroOp& op) {
  const CpuState& state = core.state;
  std::uint64_t value = 0;
  switch (op.src) {
  case 0:
    value = state.cr0;
    break;
  case 2:
    value = state.cr2;
    break;
  case 3:
    value = state.cr3;
    break;
  case 4:
    value = state.cr4;
    break;
  case 8:
    value = state.cr8;
    break;
  default:
    return raise(core, vector_undefined);
  }
  set_register<std::uint64_t>(core, op.dst, value);
  return Flow::next;
}

Flow write_cr0(Core& core, std::uint64_t value) {
  constexpr std::uint64_t fixed = cr0_protection | cr0_paging;
  if (value >> 32 != 0) return raise(core, vector_protection, 0);
  if ((value & fixed) != fixed) return unsupported(core, "leaving long mode by CR0");
  core.state.cr0 = value | 0x10; // ET
  core.memory.flush();
  return Flow::next;
}

Flow write_cr3(Core& core, std::uint64_t value) {
  const bool pcids = (core.state.cr4 & cr4_pcid) != 0;
  const bool keep = pcids && (value & cr3_keep) != 0;
  if (pcids) value &= ~cr3_keep;
  if (value >> physical_address_bits != 0) return raise(core, vector_protection, 0);
  core.state.cr3 = value;
  core.memory.space_changed();
  if (!keep) core.memory.flush_space(pcids ? value & page_offset_mask : 0);
  return Flow::next;
}

Flow write_cr4(Core& core, std::uint64_t value) {
  if ((value & ~cr4_known) != 0 || (value & cr4_pae) == 0) return raise(core, vector_protection, 0);
  if ((value & ~core.state.cr4 & cr4_pcid) != 0 && (core.state.cr3 & page_offset_mask) != 0)
    return raise(core, vector_protection, 0);
  core.state.cr4 = value;
  core.memory.space_changed();
  core.memory.flush();
  return Flow::next;
}

Flow write_control(Core& core, const MicroOp& op) {
  const auto value = get_register<std::uint64_t>(core, op.src);
  Flow flow = Flow::next;
  switch (op.dst) {
  case 0:
    flow = write_cr0(core, value);
    break;
  case 2:
    core.state.cr2 = value;
    break;
  case 3:
    flow = write_cr3(core, value);
    break;
  case 4:
    flow = write_cr4(core, value);
    break;
  case 8:
    if (value > 15) return raise(core, vector_protection, 0);
    core.state.cr8 = value;
    break;
  default:
    return raise(core, vector_undefined);
  }
  return flow == Flow::next ? end_block(core, op) : flow;
}

/// DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE is set: then they are nothing.
bool find_debug(const Core& core, unsigned number, unsigned& found) {
  const bool alias = number == 4 || number == 5;
  found = alias ? number + 2 : number & 7;
  return !alias || (core.state.cr4 & cr4_debug_extensions) == 0;
}

Flow read_debug(Core& core, const MicroOp& op) {
  unsigned number = 0;
  if (!find_debug(core, op.src, number)) return raise(core, vector_undefined);
  set_register<std::uint64_t>(core, op.dst, core.state.debug[number]);
  return Flow::next;
}

/// Breakpoints are not supported, so DR7 may not switch one on.
Flow write_debug(Core& core, const MicroOp& op) {
  const auto value = get_register<std::uint64_t>(core, op.src);
  unsigned number = 0;
  if (!find_debug(core, op.dst, number)) return raise(core, vector_undefined);
  if (number >= 6 && value >> 32 != 0) return raise(core, vector_protection, 0);
  constexpr std::uint64_t enables = 0xff, general_detect = 1U << 13;
  if (number == 7 && (value & (enables | general_detect)) != 0)
    return unsupported(core, "hardware breakpoints");
  std::uint64_t& to = core.state.debug[number];
  if (number < 6)
    to = value;
  else if (number == 6)
    to = (value & 0xe00f) | debug_status_fixed;
  else
    to = (value & 0xffff0000) | debug_control_fixed;
  return Flow::next;
}

Flow clear_task_switched(Core& core, const MicroOp&) {
  core.state.cr0 &= ~cr0_task_switched;
  return Flow::next;
}

Flow read_msr_op(Core& core, const MicroOp&) {
  std::uint64_t value = 0;
  if (!read_msr(core.state, get_gpr<std::uint32_t>(core, rcx), value))
    return raise(core, vector_protection, 0);
  set_gpr<std::uint32_t>(core, rax, static_cast<std::uint32_t>(value));
  set_gpr<std::uint32_t>(core, rdx, static_cast<std::uint32_t>(value >> 32));
  return Flow::next;
}

Flow write_msr_op(Core& core, const MicroOp& op) {
  const std::uint64_t value =
      std::uint64_t{get_gpr<std::uint32_t>(core, rdx)} << 32 | get_gpr<std::uint32_t>(core, rax);
  const std::uint64_t efer = core.state.efer;
  if (!write_msr(core.state, get_gpr<std::uint32_t>(core, rcx), value))
    return raise(core, vector_protection, 0);
  if (core.state.efer != efer) core.memory.flush(); // NXE decides what is executable
  return end_block(core, op);
}

Flow cpuid(Core& core, const MicroOp&) {
  const CpuidValue value =
      core.cpuid.find(get_gpr<std::uint32_t>(core, rax), get_gpr<std::uint32_t>(core, rcx));
  set_gpr<std::uint32_t>(core, rax, value.eax);
  set_gpr<std::uint32_t>(core, rbx, value.ebx);
  set_gpr<std::uint32_t>(core, rcx, value.ecx);
  set_gpr<std::uint32_t>(core, rdx, value.edx);
  return Flow::next;
}

template <bool WithAux> Flow read_tsc_op(Core& core, const MicroOp&) {
  if (core.state.cpl != 0 && (core.state.cr4 & cr4_tsd) != 0)
    return raise(core, vector_protection, 0);
  const std::uint64_t value = read_tsc(core.state);
  set_gpr<std::uint32_t>(core, rax, static_cast<std::uint32_t>(value));
  set_gpr<std::uint32_t>(core, rdx, static_cast<std::uint32_t>(value >> 32));
  if (WithAux) set_gpr<std::uint32_t>(core, rcx, static_cast<std::uint32_t>(core.state.tsc_aux));
  return Flow::next;
}

Flow halt(Core& core, const MicroOp& op) {
  core.state.rip = op.next_rip;
  return Flow::halt;
}

bool may_change_interrupts(const Core& core) {
  return core.state.cpl <= (core.state.system_flags & rflags_iopl) >> 12;
}

Flow clear_interrupts(Core& core, const MicroOp&) {
  if (!may_change_interrupts(core)) return raise(core, vector_protection, 0);
  core.state.system_flags &= ~rflags_if;
  return Flow::next;
}

Flow set_interrupts(Core& core, const MicroOp& op) {
  if (!may_change_interrupts(core)) return raise(core, vector_protection, 0);
  core.interrupt_shadow = (core.state.system_flags & rflags_if) == 0;
  core.state.system_flags |= rflags_if;
  return end_block(core, op);
}

template <bool Set> Flow change_ac(Core& core, const MicroOp&) {
  if (core.state.cpl != 0) return raise(core, vector_undefined);
  const std::uint64_t others = core.state.rflags() & ~rflags_ac;
  set_rflags(core, Set ? others | rflags_ac : others);
  return Flow::next;
}

Flow invalidate_page(Core& core, const MicroOp& op) {
  core.memory.flush_page(linear_address(core, op));
  return end_block(core, op);
}

/// All of its types are served by a full flush.
Flow invalidate_pcid(Core& core, const MicroOp& op) {
  if (get_register<std::uint64_t>(core, op.dst) > 3) return raise(core, vector_protection, 0);
  core.memory.flush();
  return end_block(core, op);
}

/// wbinvd and invd: guest memory is coherent.
Flow nothing(Core&, const MicroOp&) {
  return Flow::next;
}

Handler select_register_move(const Instruction& in) {
  const auto of = [&in](std::size_t operand) {
    return in.operands[operand].type == ZYDIS_OPERAND_TYPE_REGISTER
               ? ZydisRegisterGetClass(in.operands[operand].reg.value)
               : ZYDIS_REGCLASS_INVALID;
  };
  if (of(0) == ZYDIS_REGCLASS_CONTROL) return privileged<write_control>;
  if (of(1) == ZYDIS_REGCLASS_CONTROL) return privileged<read_control>;
  if (of(0) == ZYDIS_REGCLASS_DEBUG) return privileged<write_debug>;
  if (of(1) == ZYDIS_REGCLASS_DEBUG) return privileged<read_debug>;
  return nullptr;
}

} // namespace

Handler select_system(const Instruction& in, MicroOp&) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_MOV:
    return select_register_move(in);
  case ZYDIS_MNEMONIC_CLTS:
    return privileged<clear_task_switched>;
  case ZYDIS_MNEMONIC_RDMSR:
    return privileged<read_msr_op>;
  case ZYDIS_MNEMONIC_WRMSR:
    return privileged<write_msr_op>;
  case ZYDIS_MNEMONIC_CPUID:
    return cpuid;
  case ZYDIS_MNEMONIC_RDTSC:
    return read_tsc_op<false>;
  case ZYDIS_MNEMONIC_RDTSCP:
    return read_tsc_op<true>;
  case ZYDIS_MNEMONIC_HLT:
    return privileged<halt>;
  case ZYDIS_MNEMONIC_CLI:
    return clear_interrupts;
  case ZYDIS_MNEMONIC_STI:
    return set_interrupts;
  case ZYDIS_MNEMONIC_CLAC:
    return change_ac<false>;
  case ZYDIS_MNEMONIC_STAC:
    return change_ac<true>;
  case ZYDIS_MNEMONIC_INVLPG:
    return privileged<invalidate_page>;
  case ZYDIS_MNEMONIC_INVPCID:
    return privileged<invalidate_pcid>;
  case ZYDIS_MNEMONIC_WBINVD:
  case ZYDIS_MNEMONIC_INVD:
    return privileged<nothing>;
  case ZYDIS_MNEMONIC_PAUSE:
    return nothing;
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
