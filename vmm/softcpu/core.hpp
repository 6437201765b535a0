// Core: what handlers of instructions work on, and the small things that all of them need.
#pragma once

#include "vmm/softcpu/cpu_state.hpp"
#include "vmm/softcpu/cpuid.hpp"
#include "vmm/softcpu/fault.hpp"
#include "vmm/softcpu/memory_access.hpp"
#include "vmm/softcpu/micro_op.hpp"

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>

namespace slat::vmm::softcpu {

struct Core {
  explicit Core(GuestPhysical& physical) : memory(physical, state) {}

  CpuState state;
  MemoryAccess memory;
  CpuidTable cpuid;
  Fault fault;                   // with Flow::fault
  std::string unsupported;       // with Flow::unsupported
  bool interrupt_shadow = false; // the next instruction runs before any interrupt
};

/// The memory access failed: what the handler returns.
[[gnu::cold]] inline Flow access_failed(Core& core) {
  const Flow flow = core.memory.failure();
  if (flow == Flow::fault) core.fault = core.memory.fault();
  if (flow == Flow::unsupported) core.unsupported = core.memory.reason();
  return flow;
}

/// Of a push, pop, call or ret: a stack address that is not canonical is a stack fault.
[[gnu::cold]] inline Flow stack_failed(Core& core) {
  const Flow flow = access_failed(core);
  if (flow == Flow::fault && core.fault.vector == vector_protection)
    core.fault.vector = vector_stack;
  return flow;
}

[[gnu::cold]] inline Flow raise(Core& core, std::uint8_t vector) {
  core.fault = {vector, false, 0, 0};
  return Flow::fault;
}

[[gnu::cold]] inline Flow raise(Core& core, std::uint8_t vector, std::uint32_t error) {
  core.fault = {vector, true, error, 0};
  return Flow::fault;
}

[[gnu::cold]] inline Flow unsupported(Core& core, std::string what) {
  core.unsupported = std::move(what);
  return Flow::unsupported;
}

template <std::unsigned_integral T> T get_register(const Core& core, std::uint8_t at) {
  T value;
  std::memcpy(&value, reinterpret_cast<const std::byte*>(core.state.gpr.data()) + at, sizeof value);
  return value;
}

/// 32-bit writes clear the upper half, smaller ones leave the rest.
template <std::unsigned_integral T> void set_register(Core& core, std::uint8_t at, T value) {
  std::byte* to = reinterpret_cast<std::byte*>(core.state.gpr.data()) + at;
  if constexpr (sizeof(T) == 4) {
    const std::uint64_t wide = value;
    std::memcpy(to, &wide, sizeof wide);
  } else {
    std::memcpy(to, &value, sizeof value);
  }
}

/// What these flags ask for at this privilege that there is not; nullptr: nothing.
inline const char* unsupported_flags(const Core& core, std::uint64_t flags, std::uint64_t cpl) {
  if ((flags & rflags_tf) != 0) return "single-stepping by the trap flag";
  if (cpl == 3 && (flags & rflags_ac) != 0 && (core.state.cr0 & cr0_alignment_mask) != 0)
    return "alignment checks";
  return nullptr;
}

/// Sets all of RFLAGS. Translations that SMAP allowed because of AC go with it.
inline void set_rflags(Core& core, std::uint64_t value) {
  if ((core.state.system_flags & ~value & rflags_ac) != 0) core.memory.flush();
  core.state.set_rflags(value);
}

/// A register by its number.
template <std::unsigned_integral T> T get_gpr(const Core& core, Gpr number) {
  return static_cast<T>(core.state.gpr[number]);
}

template <std::unsigned_integral T> void set_gpr(Core& core, Gpr number, T value) {
  set_register<T>(core, static_cast<std::uint8_t>(number * 8), value);
}

/// The address inside the segment: what lea computes.
inline std::uint64_t offset_address(const Core& core, const MicroOp& op) {
  const std::uint64_t address =
      core.state.gpr[op.base] + (core.state.gpr[op.index] << op.scale) + op.displacement;
  return op.address32 ? address & UINT32_MAX : address;
}

inline std::uint64_t linear_address(const Core& core, const MicroOp& op) {
  const std::uint64_t offset = offset_address(core, op);
  return op.segment == 0 ? offset : offset + core.state.segments[op.segment].base;
}

template <std::unsigned_integral T> [[nodiscard]] bool push(Core& core, T value) {
  const std::uint64_t to = core.state.gpr[rsp] - sizeof(T);
  if (!core.memory.write<T>(to, value)) return false;
  core.state.gpr[rsp] = to;
  return true;
}

template <std::unsigned_integral T> [[nodiscard]] bool pop(Core& core, T& value) {
  if (!core.memory.read<T>(core.state.gpr[rsp], value)) return false;
  core.state.gpr[rsp] += sizeof(T);
  return true;
}

} // namespace slat::vmm::softcpu
