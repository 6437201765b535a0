// Exceptions, interrupts and what loads a segment: the parts of the processor that read descriptor tables.
#pragma once

#include "vmm/softcpu/core.hpp"

#include <cstdint>
#include <optional>

namespace slat::vmm::softcpu {

/// Through the IDT's gate. Flow::jump: done, rip is at the handler; Flow::fault: another exception came up instead;
/// Flow::unsupported.
[[nodiscard]] Flow enter_gate(Core& core, const Fault& event, bool software,
                              std::uint64_t return_rip);

/// Delivers Core::fault, raised at rip; a fault on the way becomes a double fault. Flow::jump: done; Flow::halt: a
/// triple fault; Flow::unsupported.
[[nodiscard]] Flow deliver_fault(Core& core);

/// Flow::next: `value` is the descriptor of a segment in the GDT (the LDT is not supported); else a fault.
[[nodiscard]] Flow read_descriptor(Core& core, std::uint16_t selector, SegmentValue& value,
                                   bool& present);

/// Sets CS and SS for a return to the privilege in `code`, 64-bit code only. No `stack`: SS stays, for a far return
/// to the same privilege. Nothing is changed on failure.
[[nodiscard]] Flow return_to(Core& core, std::uint16_t code, std::optional<std::uint16_t> stack,
                             std::uint64_t rip, std::uint64_t rsp_value);

/// Sets the privilege: lookups are of it from now on.
void set_privilege(Core& core, std::uint8_t cpl);

} // namespace slat::vmm::softcpu
