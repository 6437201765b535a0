// The model-specific registers that a software vCPU has.
#pragma once

#include "vmm/softcpu/cpu_state.hpp"

#include <cstdint>

namespace slat::vmm::softcpu {

/// False: no such register (`#GP`).
[[nodiscard]] bool read_msr(const CpuState& state, std::uint32_t number, std::uint64_t& value);
/// False: no such register, or a value it cannot have (`#GP`). EFER: the caller flushes the TLB.
[[nodiscard]] bool write_msr(CpuState& state, std::uint32_t number, std::uint64_t value);

/// The guest's time-stamp counter.
[[nodiscard]] inline std::uint64_t read_tsc(const CpuState& state) {
  return __builtin_ia32_rdtsc() + state.tsc_offset;
}

} // namespace slat::vmm::softcpu
