// The whole state of a software vCPU as text, for comparisons that say what differs.
#pragma once

#include "vmm/softcpu/cpu_state.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string>

namespace slat::test {

inline std::string describe(const vmm::SegmentValue& segment) {
  return fmt::format("{:x} type {} dpl {} s {} l {} d {} g {} base {:x} limit {:x}\n",
                     segment.selector, segment.type, segment.dpl, segment.code_or_data,
                     segment.long_mode, segment.big, segment.granular, segment.base, segment.limit);
}

inline std::string describe(const vmm::softcpu::CpuState& state) {
  std::string text = fmt::format("gpr {:x}\nrip {:x} rflags {:x} cpl {}\n",
                                 fmt::join(state.gpr, " "), state.rip, state.rflags(), state.cpl);
  for (const vmm::SegmentValue& segment : state.segments) text += describe(segment);
  text += describe(state.task) + describe(state.local_table);
  text += fmt::format("gdt {:x} {:x} idt {:x} {:x}\n", state.gdt.base, state.gdt.limit,
                      state.idt.base, state.idt.limit);
  text += fmt::format("cr {:x} {:x} {:x} {:x} {:x} efer {:x}\n", state.cr0, state.cr2, state.cr3,
                      state.cr4, state.cr8, state.efer);
  text += fmt::format("msr {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x}\n",
                      state.star, state.lstar, state.cstar, state.sfmask, state.kernel_gs_base,
                      state.tsc_aux, state.tsc_offset, state.apic_base, state.pat,
                      state.sysenter_cs, state.sysenter_esp, state.sysenter_eip, state.misc_enable);
  return text + fmt::format("dr {:x}\n", fmt::join(state.debug, " "));
}

} // namespace slat::test
