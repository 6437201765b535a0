#include "vmm/softcpu/setup.hpp"

namespace slat::vmm::softcpu {
namespace {

CrashSegment to_crash(const SegmentValue& segment) {
  return {segment.selector, segment.base};
}

} // namespace

void set_entry_state(Cpu& cpu, const EntryState& entry) {
  CpuState& state = cpu.state();
  state = {};
  state.rip = entry.rip;
  state.gpr[rsi] = entry.rsi, state.gpr[rdi] = entry.rdi, state.gpr[rdx] = entry.rdx;
  state.set_rflags(entry.rflags);
  state.segments.fill(entry.data);
  state.segments[cs] = entry.code;
  state.task = entry.task;
  state.gdt = {entry.gdt.base, entry.gdt.limit};
  state.cr0 = entry.cr0, state.cr3 = entry.cr3, state.cr4 = entry.cr4;
  state.efer = entry.efer;
  cpu.state_changed();
}

CrashRegisters crash_registers(Cpu& cpu) {
  const CpuState& state = cpu.state();
  const auto& gpr = state.gpr;
  CrashRegisters crash{};
  crash.rax = gpr[rax], crash.rbx = gpr[rbx], crash.rcx = gpr[rcx], crash.rdx = gpr[rdx];
  crash.rsi = gpr[rsi], crash.rdi = gpr[rdi], crash.rbp = gpr[rbp], crash.rsp = gpr[rsp];
  crash.r8 = gpr[8], crash.r9 = gpr[9], crash.r10 = gpr[10], crash.r11 = gpr[11];
  crash.r12 = gpr[12], crash.r13 = gpr[13], crash.r14 = gpr[14], crash.r15 = gpr[15];
  crash.rip = state.rip, crash.rflags = state.rflags();
  crash.cr0 = state.cr0, crash.cr2 = state.cr2, crash.cr3 = state.cr3, crash.cr4 = state.cr4;
  crash.efer = state.efer;
  crash.cs = to_crash(state.segments[cs]), crash.ds = to_crash(state.segments[ds]);
  crash.es = to_crash(state.segments[es]), crash.fs = to_crash(state.segments[fs]);
  crash.gs = to_crash(state.segments[gs]), crash.ss = to_crash(state.segments[ss]);
  crash.cs_long = true;
  crash.cpl = state.cpl;
  return crash;
}

} // namespace slat::vmm::softcpu
