// Segment registers, descriptor tables, int and iret, far ret, syscall and sysret, swapgs, FS and GS bases.
#include "vmm/softcpu/exception.hpp"
#include "vmm/softcpu/instruction.hpp"

#include "vmm/guest_walk.hpp"

#include <optional>
#include <utility>

namespace slat::vmm::softcpu {
namespace {

/// A privileged instruction: nothing but #GP outside of ring 0.
template <Flow (*Body)(Core&, const MicroOp&)> Flow privileged(Core& core, const MicroOp& op) {
  return core.state.cpl == 0 ? Body(core, op) : raise(core, vector_protection, 0);
}

/// mov to a segment register (its index is `dst`), from a register or memory.
Flow load_segment(Core& core, std::uint8_t index, std::uint16_t selector) {
  SegmentValue value{};
  if ((selector & ~3U) == 0) {
    if (index == ss && core.state.cpl == 3) return raise(core, vector_protection, 0);
    value = kernel_data;
    value.base = 0;
    value.selector = selector;
  } else {
    bool present = false;
    if (const Flow flow = read_descriptor(core, selector, value, present); flow != Flow::next)
      return flow;
    const std::uint32_t error = selector & ~3U;
    const bool writable_data = value.code_or_data && (value.type & 10) == 2;
    const bool readable = value.code_or_data && (value.type & 10) != 8;
    const unsigned rpl = selector & 3U;
    const bool fits = index == ss
                          ? writable_data && rpl == core.state.cpl && value.dpl == core.state.cpl
                          : readable && ((value.type & 12) == 12 ||
                                         (value.dpl >= core.state.cpl && value.dpl >= rpl));
    if (!fits) return raise(core, vector_protection, error);
    if (!present) return raise(core, index == ss ? vector_stack : vector_no_segment, error);
  }
  core.state.segments[index] = value;
  if (index == ss) core.interrupt_shadow = true;
  return Flow::next;
}

template <bool Memory> Flow move_to_segment(Core& core, const MicroOp& op) {
  std::uint16_t selector = get_register<std::uint16_t>(core, op.src);
  if (Memory && !core.memory.read<std::uint16_t>(linear_address(core, op), selector))
    return access_failed(core);
  return load_segment(core, op.dst, selector);
}

Flow store_selector(Core& core, const MicroOp& op, bool memory, std::uint16_t selector) {
  if (memory)
    return core.memory.write<std::uint16_t>(linear_address(core, op), selector)
               ? Flow::next
               : access_failed(core);
  if (op.size == 2)
    set_register<std::uint16_t>(core, op.dst, selector);
  else
    set_register<std::uint64_t>(core, op.dst, selector);
  return Flow::next;
}

template <bool Memory> Flow move_from_segment(Core& core, const MicroOp& op) {
  return store_selector(core, op, Memory, core.state.segments[op.src].selector);
}

Flow push_segment(Core& core, const MicroOp& op) {
  return push<std::uint64_t>(core, core.state.segments[op.dst].selector) ? Flow::next
                                                                         : stack_failed(core);
}

Flow pop_segment(Core& core, const MicroOp& op) {
  std::uint64_t value;
  if (!pop<std::uint64_t>(core, value)) return stack_failed(core);
  const Flow flow = load_segment(core, op.dst, static_cast<std::uint16_t>(value));
  if (flow != Flow::next) core.state.gpr[rsp] -= 8;
  return flow;
}

template <DescriptorTableRegister CpuState::* Table>
Flow load_table(Core& core, const MicroOp& op) {
  const std::uint64_t at = linear_address(core, op);
  std::uint16_t limit;
  std::uint64_t base;
  if (!core.memory.read<std::uint16_t>(at, limit) || !core.memory.read<std::uint64_t>(at + 2, base))
    return access_failed(core);
  core.state.*Table = {base, limit};
  return Flow::next;
}

template <DescriptorTableRegister CpuState::* Table>
Flow store_table(Core& core, const MicroOp& op) {
  const std::uint64_t at = linear_address(core, op);
  const DescriptorTableRegister& table = core.state.*Table;
  if (!core.memory.write<std::uint16_t>(at, table.limit) ||
      !core.memory.write<std::uint64_t>(at + 2, table.base))
    return access_failed(core);
  return Flow::next;
}

/// ltr and lldt: the selector is in a register or, where `code` is 1, in memory.
template <bool Task> Flow load_system_segment(Core& core, const MicroOp& op) {
  std::uint16_t selector = get_register<std::uint16_t>(core, op.dst);
  if (op.code != 0 && !core.memory.read<std::uint16_t>(linear_address(core, op), selector))
    return access_failed(core);
  const std::uint32_t error = selector & ~3U;
  if (error == 0) {
    if (Task) return raise(core, vector_protection, 0);
    core.state.local_table = {};
    return Flow::next;
  }
  SegmentValue value{};
  bool present = false;
  if (const Flow flow = read_descriptor(core, selector, value, present); flow != Flow::next)
    return flow;
  const unsigned wanted = Task ? 9 : 2; // an available TSS; an LDT
  if (value.code_or_data || value.type != wanted) return raise(core, vector_protection, error);
  if (!present) return raise(core, vector_no_segment, error);
  if (!Task) {
    core.state.local_table = value;
    return Flow::next;
  }
  const std::uint64_t at = core.state.gdt.base + (selector & ~7U) + 5;
  std::uint64_t access = 0;
  if (!core.memory.read_system(at, 1, access) || !core.memory.write_system(at, 1, access | 2))
    return access_failed(core); // busy from now on
  value.type = 11;
  core.state.task = value;
  return Flow::next;
}

template <bool Memory, SegmentValue CpuState::* Segment>
Flow store_system_segment(Core& core, const MicroOp& op) {
  return store_selector(core, op, Memory, (core.state.*Segment).selector);
}

/// int3 has its vector in `code`, int n in the immediate.
Flow software_interrupt(Core& core, const MicroOp& op) {
  const auto vector = op.code != 0 ? op.code : static_cast<std::uint8_t>(op.immediate);
  return enter_gate(core, {vector, false, 0, 0}, true, op.next_rip);
}

Flow iret(Core& core, const MicroOp&) {
  CpuState& state = core.state;
  if ((state.system_flags & rflags_nt) != 0) return raise(core, vector_protection, 0);
  std::array<std::uint64_t, 5> frame{}; // rip, cs, rflags, rsp, ss
  for (std::size_t i = 0; i < frame.size(); ++i)
    if (!core.memory.read<std::uint64_t>(state.gpr[rsp] + 8 * i, frame[i]))
      return stack_failed(core);
  if (const char* what = unsupported_flags(core, frame[2], frame[1] & 3))
    return unsupported(core, what);
  std::uint64_t may = rflags_arithmetic | rflags_df | rflags_nt | rflags_rf | rflags_ac | rflags_id;
  if (state.cpl == 0) may |= rflags_iopl;
  if (state.cpl <= (state.system_flags & rflags_iopl) >> 12) may |= rflags_if;
  const Flow flow = return_to(core, static_cast<std::uint16_t>(frame[1]),
                              static_cast<std::uint16_t>(frame[4]), frame[0], frame[3]);
  if (flow == Flow::jump) set_rflags(core, (state.rflags() & ~may) | (frame[2] & may));
  return flow;
}

Flow far_return(Core& core, const MicroOp& op) {
  CpuState& state = core.state;
  std::uint64_t rip, code, outer_stack, stack;
  const std::uint64_t at = state.gpr[rsp];
  if (!core.memory.read<std::uint64_t>(at, rip) || !core.memory.read<std::uint64_t>(at + 8, code))
    return stack_failed(core);
  const std::uint64_t behind = at + 16 + op.immediate; // the parameters
  const auto selector = static_cast<std::uint16_t>(code);
  if ((code & 3) <= state.cpl) return return_to(core, selector, std::nullopt, rip, behind);
  if (!core.memory.read<std::uint64_t>(behind, outer_stack) ||
      !core.memory.read<std::uint64_t>(behind + 8, stack))
    return stack_failed(core);
  // The outer stack has a copy of the parameters.
  return return_to(core, selector, static_cast<std::uint16_t>(stack), rip,
                   outer_stack + op.immediate);
}

Flow system_call(Core& core, const MicroOp& op) {
  CpuState& state = core.state;
  if ((state.efer & efer_syscall) == 0) return raise(core, vector_undefined);
  state.gpr[rcx] = op.next_rip;
  state.gpr[11] = state.rflags() & ~rflags_rf;
  set_rflags(core, state.rflags() & ~(state.sfmask | rflags_rf));
  const auto selector = static_cast<std::uint16_t>(state.star >> 32 & 0xfffc);
  state.segments[cs] = kernel_code;
  state.segments[cs].selector = selector;
  state.segments[ss] = kernel_data;
  state.segments[ss].selector = static_cast<std::uint16_t>(selector + 8);
  state.rip = state.lstar;
  set_privilege(core, 0);
  return Flow::jump;
}

Flow system_return(Core& core, const MicroOp& op) {
  CpuState& state = core.state;
  if ((state.efer & efer_syscall) == 0) return raise(core, vector_undefined);
  if (op.size != 8) return unsupported(core, "sysret to 32-bit code");
  if (!is_canonical(state.gpr[rcx], false)) return raise(core, vector_protection, 0);
  if (const char* what = unsupported_flags(core, state.gpr[11], 3)) return unsupported(core, what);
  constexpr std::uint64_t kept = 0x3c7fd7; // all flags but RF and VM
  set_rflags(core, state.gpr[11] & kept);
  const auto selector = static_cast<std::uint16_t>(state.star >> 48);
  state.segments[cs] = user_code;
  state.segments[cs].selector = static_cast<std::uint16_t>((selector + 16) | 3);
  state.segments[ss] = user_data;
  state.segments[ss].selector = static_cast<std::uint16_t>((selector + 8) | 3);
  state.rip = state.gpr[rcx];
  set_privilege(core, 3);
  return Flow::jump;
}

Flow swap_gs(Core& core, const MicroOp&) {
  std::swap(core.state.segments[gs].base, core.state.kernel_gs_base);
  return Flow::next;
}

template <SegmentIndex Index, bool Write> struct SegmentBase {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    if ((core.state.cr4 & cr4_fsgsbase) == 0) return raise(core, vector_undefined);
    std::uint64_t& base = core.state.segments[Index].base;
    if (!Write) {
      set_register<T>(core, op.dst, static_cast<T>(base));
      return Flow::next;
    }
    const std::uint64_t value = get_register<T>(core, op.dst);
    if (!is_canonical(value, false)) return raise(core, vector_protection, 0);
    base = value;
    return Flow::next;
  }
};

bool is_segment(const Instruction& in, std::size_t operand) {
  return in.operands[operand].type == ZYDIS_OPERAND_TYPE_REGISTER &&
         ZydisRegisterGetClass(in.operands[operand].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

Handler select_selector(const Instruction& in, MicroOp& op) {
  const bool memory = writes_memory(in.shape);
  if (memory) op.code = 1;
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_MOV:
    if (is_segment(in, 0))
      return in.shape == Shape::rm ? move_to_segment<true> : move_to_segment<false>;
    if (is_segment(in, 1)) return memory ? move_from_segment<true> : move_from_segment<false>;
    return nullptr;
  case ZYDIS_MNEMONIC_PUSH:
    return is_segment(in, 0) ? push_segment : nullptr;
  case ZYDIS_MNEMONIC_POP:
    return is_segment(in, 0) ? pop_segment : nullptr;
  case ZYDIS_MNEMONIC_LTR:
    return privileged<load_system_segment<true>>;
  case ZYDIS_MNEMONIC_LLDT:
    return privileged<load_system_segment<false>>;
  case ZYDIS_MNEMONIC_STR:
    return memory ? store_system_segment<true, &CpuState::task>
                  : store_system_segment<false, &CpuState::task>;
  case ZYDIS_MNEMONIC_SLDT:
    return memory ? store_system_segment<true, &CpuState::local_table>
                  : store_system_segment<false, &CpuState::local_table>;
  default:
    return nullptr;
  }
}

} // namespace

Handler select_segment(const Instruction& in, MicroOp& op) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_LGDT:
    return privileged<load_table<&CpuState::gdt>>;
  case ZYDIS_MNEMONIC_LIDT:
    return privileged<load_table<&CpuState::idt>>;
  case ZYDIS_MNEMONIC_SGDT:
    return store_table<&CpuState::gdt>;
  case ZYDIS_MNEMONIC_SIDT:
    return store_table<&CpuState::idt>;
  case ZYDIS_MNEMONIC_INT3:
    op.code = vector_breakpoint;
    return software_interrupt;
  case ZYDIS_MNEMONIC_INT:
    return software_interrupt;
  case ZYDIS_MNEMONIC_IRETQ:
    return iret;
  case ZYDIS_MNEMONIC_RET:
    op.immediate &= 0xffff;
    return in.info.operand_width == 64 ? far_return : nullptr;
  case ZYDIS_MNEMONIC_SYSCALL:
    return system_call;
  case ZYDIS_MNEMONIC_SYSRET:
    return privileged<system_return>;
  case ZYDIS_MNEMONIC_SWAPGS:
    return privileged<swap_gs>;
  case ZYDIS_MNEMONIC_RDFSBASE:
    return pick_size<SegmentBase<fs, false>>(in.size(0));
  case ZYDIS_MNEMONIC_RDGSBASE:
    return pick_size<SegmentBase<gs, false>>(in.size(0));
  case ZYDIS_MNEMONIC_WRFSBASE:
    return pick_size<SegmentBase<fs, true>>(in.size(0));
  case ZYDIS_MNEMONIC_WRGSBASE:
    return pick_size<SegmentBase<gs, true>>(in.size(0));
  default:
    return select_selector(in, op);
  }
}

} // namespace slat::vmm::softcpu
