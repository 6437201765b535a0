#include "vmm/softcpu/exception.hpp"

#include "vmm/guest_walk.hpp"

#include <array>

namespace slat::vmm::softcpu {
namespace {

constexpr std::uint16_t rpl_mask = 3;
constexpr std::uint16_t table_indicator = 4;
constexpr std::uint64_t tss_rsp = 4, tss_ist = 0x24; // offsets in a 64-bit TSS

Flow system_failed(Core& core) {
  const Flow flow = access_failed(core);
  return flow == Flow::device ? unsupported(core, "a descriptor table or stack in device memory")
                              : flow;
}

struct Gate {
  std::uint64_t offset;
  std::uint16_t selector;
  std::uint8_t ist;
  std::uint8_t type;
};

Flow read_gate(Core& core, std::uint8_t vector, bool software, Gate& gate) {
  const std::uint32_t error = vector * 8U + 2; // IDT
  const CpuState& state = core.state;
  if (vector * 16U + 15 > state.idt.limit) return raise(core, vector_protection, error);
  std::uint64_t low, high;
  if (!core.memory.read_system(state.idt.base + vector * 16U, 8, low) ||
      !core.memory.read_system(state.idt.base + vector * 16U + 8, 8, high))
    return system_failed(core);
  gate.offset = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
  gate.selector = static_cast<std::uint16_t>(low >> 16);
  gate.ist = low >> 32 & 7;
  gate.type = low >> 40 & 15;
  const unsigned dpl = low >> 45 & 3;
  const bool system = (low >> 44 & 1) == 0;
  if (!system || (gate.type != 14 && gate.type != 15) || (software && dpl < state.cpl))
    return raise(core, vector_protection, error);
  if ((low >> 47 & 1) == 0) return raise(core, vector_no_segment, error);
  return Flow::next;
}

bool is_contributory(std::uint8_t vector) {
  return vector == vector_divide || (vector >= vector_bad_tss && vector <= vector_protection);
}

} // namespace

void set_privilege(Core& core, std::uint8_t cpl) {
  core.state.cpl = cpl;
  core.memory.privilege_changed();
}

Flow read_descriptor(Core& core, std::uint16_t selector, SegmentValue& value, bool& present) {
  const std::uint32_t error = selector & ~rpl_mask;
  if ((selector & table_indicator) != 0) return unsupported(core, "a segment of the LDT");
  const std::uint64_t offset = selector & ~7U;
  if (offset + 7 > core.state.gdt.limit) return raise(core, vector_protection, error);
  std::uint64_t low;
  if (!core.memory.read_system(core.state.gdt.base + offset, 8, low)) return system_failed(core);
  value = {};
  value.selector = selector;
  value.type = low >> 40 & 15;
  value.code_or_data = (low >> 44 & 1) != 0;
  value.dpl = low >> 45 & 3;
  value.long_mode = (low >> 53 & 1) != 0;
  value.big = (low >> 54 & 1) != 0;
  value.granular = (low >> 55 & 1) != 0;
  value.base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000);
  value.limit = static_cast<std::uint32_t>((low & 0xffff) | (low >> 32 & 0xf0000));
  if (value.granular) value.limit = value.limit << 12 | 0xfff;
  present = (low >> 47 & 1) != 0;
  if (!value.code_or_data) { // system descriptors have 16 bytes
    std::uint64_t high;
    if (offset + 15 > core.state.gdt.limit) return raise(core, vector_protection, error);
    if (!core.memory.read_system(core.state.gdt.base + offset + 8, 8, high))
      return system_failed(core);
    value.base |= high << 32;
  }
  return Flow::next;
}

namespace {

/// enter_gate() without EXT in error codes.
Flow through_gate(Core& core, const Fault& event, bool software, std::uint64_t return_rip) {
  CpuState& state = core.state;
  Gate gate{};
  if (const Flow flow = read_gate(core, event.vector, software, gate); flow != Flow::next)
    return flow;
  SegmentValue code{};
  bool present = false;
  if ((gate.selector & ~rpl_mask) == 0) return raise(core, vector_protection, 0);
  if (const Flow flow = read_descriptor(core, gate.selector, code, present); flow != Flow::next)
    return flow;
  const bool is_code = code.code_or_data && (code.type & 8) != 0;
  if (!is_code || code.dpl > state.cpl) return raise(core, vector_protection, gate.selector & ~3U);
  if (!present) return raise(core, vector_no_segment, gate.selector & ~3U);
  if (!code.long_mode) return unsupported(core, "an interrupt handler in 32-bit code");
  if (!is_canonical(gate.offset, false)) return raise(core, vector_protection, 0);
  const bool conforming = (code.type & 4) != 0;
  const std::uint8_t cpl = conforming ? state.cpl : code.dpl;

  std::uint64_t stack = state.gpr[rsp];
  if (gate.ist != 0 || cpl < state.cpl) {
    const std::uint64_t at = gate.ist != 0 ? tss_ist + (gate.ist - 1U) * 8 : tss_rsp + cpl * 8U;
    if (at + 7 > state.task.limit) return raise(core, vector_bad_tss, state.task.selector & ~3U);
    if (!core.memory.read_system(state.task.base + at, 8, stack)) return system_failed(core);
  }
  stack &= ~std::uint64_t{15};
  const std::array<std::uint64_t, 6> frame = {
      state.segments[ss].selector, state.gpr[rsp], state.rflags(),
      state.segments[cs].selector, return_rip,     event.error};
  for (std::size_t i = 0; i < (event.has_error ? 6U : 5U); ++i) {
    stack -= 8;
    if (!is_canonical(stack, false)) return raise(core, vector_stack, 0);
    if (!core.memory.write_frame(stack, 8, frame[i])) return system_failed(core);
  }
  if (cpl != state.cpl) { // a null selector of the new privilege
    state.segments[ss] = kernel_data;
    state.segments[ss].selector = cpl;
    state.segments[ss].dpl = cpl;
  }
  code.selector = static_cast<std::uint16_t>((gate.selector & ~rpl_mask) | cpl);
  state.segments[cs] = code;
  state.gpr[rsp] = stack;
  state.system_flags &= ~(rflags_tf | rflags_nt | rflags_rf | rflags_vm);
  if (gate.type == 14) state.system_flags &= ~rflags_if;
  state.rip = gate.offset;
  set_privilege(core, cpl);
  return Flow::jump;
}

} // namespace

Flow enter_gate(Core& core, const Fault& event, bool software, std::uint64_t return_rip) {
  const Flow flow = through_gate(core, event, software, return_rip);
  if (flow == Flow::fault && !software && core.fault.has_error &&
      core.fault.vector != vector_page_fault)
    core.fault.error |= 1; // EXT: no instruction asked for it
  return flow;
}

Flow deliver_fault(Core& core) {
  Fault first = core.fault;
  for (;;) {
    if (first.vector == vector_page_fault) core.state.cr2 = first.address;
    const Flow flow = enter_gate(core, first, false, core.state.rip);
    if (flow != Flow::fault) {
      core.fault = first; // for another delivery, if a page was missing
      return flow;
    }
    if (first.vector == vector_double_fault) return Flow::halt;
    const Fault second = core.fault;
    const bool doubles = (is_contributory(first.vector) && is_contributory(second.vector)) ||
                         (first.vector == vector_page_fault &&
                          (second.vector == vector_page_fault || is_contributory(second.vector)));
    if (doubles && second.vector == vector_page_fault) core.state.cr2 = second.address;
    first = doubles ? Fault{vector_double_fault, true, 0, 0} : second;
  }
}

namespace {

/// The SS that a return to `cpl` loads.
Flow read_stack_segment(Core& core, std::uint16_t selector, std::uint8_t cpl, SegmentValue& value) {
  const std::uint32_t error = selector & ~3U;
  if (error == 0) {
    if (cpl == 3 || (selector & rpl_mask) != cpl) return raise(core, vector_protection, 0);
    value = kernel_data;
    value.selector = selector;
    return Flow::next;
  }
  bool present = false;
  if (const Flow flow = read_descriptor(core, selector, value, present); flow != Flow::next)
    return flow;
  const bool writable_data = value.code_or_data && (value.type & 10) == 2;
  if (!writable_data || value.dpl != cpl || (selector & rpl_mask) != cpl)
    return raise(core, vector_protection, error);
  return present ? Flow::next : raise(core, vector_stack, error);
}

} // namespace

Flow return_to(Core& core, std::uint16_t code, std::optional<std::uint16_t> stack,
               std::uint64_t rip, std::uint64_t rsp_value) {
  CpuState& state = core.state;
  SegmentValue code_value{}, stack_value = state.segments[ss];
  bool present = false;
  const auto cpl = static_cast<std::uint8_t>(code & rpl_mask);
  if ((code & ~rpl_mask) == 0 || cpl < state.cpl) return raise(core, vector_protection, code & ~3U);
  if (const Flow flow = read_descriptor(core, code, code_value, present); flow != Flow::next)
    return flow;
  const bool conforming = (code_value.type & 4) != 0;
  if (!code_value.code_or_data || (code_value.type & 8) == 0 ||
      (conforming ? code_value.dpl > cpl : code_value.dpl != cpl))
    return raise(core, vector_protection, code & ~3U);
  if (!present) return raise(core, vector_no_segment, code & ~3U);
  if (!code_value.long_mode) return unsupported(core, "a return to 32-bit code");
  if (stack)
    if (const Flow flow = read_stack_segment(core, *stack, cpl, stack_value); flow != Flow::next)
      return flow;
  if (!is_canonical(rip, false)) return raise(core, vector_protection, 0);
  state.segments[cs] = code_value;
  state.segments[ss] = stack_value;
  state.gpr[rsp] = rsp_value;
  state.rip = rip;
  if (cpl > state.cpl) { // data segments of more privilege than the new one are not kept
    for (const SegmentIndex index : {es, ds, fs, gs}) {
      SegmentValue& segment = state.segments[index];
      if (segment.selector != 0 && segment.dpl < cpl) segment.selector = 0;
    }
  }
  set_privilege(core, cpl);
  return Flow::jump;
}

} // namespace slat::vmm::softcpu
