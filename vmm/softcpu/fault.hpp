// What an instruction can end with other than its next instruction.
#pragma once

#include <cstdint>

namespace slat::vmm::softcpu {

/// What a handler returns. `fault`, `device`, `stage2` and `unsupported` leave the instruction undone, to be started
/// again.
enum class Flow : std::uint8_t {
  next,        // go on with the next micro-op
  jump,        // rip is set; the block ends
  fault,       // an exception: Core::fault
  device,      // an I/O port or MMIO access must be served first: Core::external
  stage2,      // a page is missing in stage 2: MemoryAccess::missing()
  halt,        // hlt; rip is behind it
  unsupported, // Core::unsupported says what
};

inline constexpr std::uint8_t vector_divide = 0, vector_debug = 1, vector_breakpoint = 3,
                              vector_overflow = 4, vector_undefined = 6, vector_device = 7,
                              vector_double_fault = 8, vector_bad_tss = 10, vector_no_segment = 11,
                              vector_stack = 12, vector_protection = 13, vector_page_fault = 14,
                              vector_alignment = 17;

struct Fault {
  std::uint8_t vector = 0;
  bool has_error = false;
  std::uint32_t error = 0;
  std::uint64_t address = 0; // page fault: goes to CR2
};

} // namespace slat::vmm::softcpu
