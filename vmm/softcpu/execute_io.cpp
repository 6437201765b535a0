// in out ins outs: each item is an exit.
#include "vmm/softcpu/instruction.hpp"

namespace slat::vmm::softcpu {
namespace {

/// By IOPL, else by the bitmap of the TSS. Flow::next: allowed.
Flow check_port(Core& core, std::uint16_t port, unsigned size) {
  const CpuState& state = core.state;
  if (state.cpl <= (state.system_flags & rflags_iopl) >> 12) return Flow::next;
  std::uint64_t map = 0, bits = 0;
  constexpr std::uint64_t map_base = 0x66;
  if (map_base + 1 > state.task.limit) return raise(core, vector_protection, 0);
  if (!core.memory.read_system(state.task.base + map_base, 2, map)) return access_failed(core);
  map += port / 8;
  if (map + 1 > state.task.limit) return raise(core, vector_protection, 0);
  if (!core.memory.read_system(state.task.base + map, 2, bits)) return access_failed(core);
  const std::uint64_t wanted = ((1U << size) - 1) << port % 8;
  return (bits & wanted) == 0 ? Flow::next : raise(core, vector_protection, 0);
}

/// dx, or an immediate where `code` is 1.
std::uint16_t port_number(const Core& core, const MicroOp& op) {
  return op.code != 0 ? static_cast<std::uint8_t>(op.immediate) : get_gpr<std::uint16_t>(core, rdx);
}

struct In {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    const std::uint16_t port = port_number(core, op);
    if (const Flow flow = check_port(core, port, sizeof(T)); flow != Flow::next) return flow;
    std::uint64_t value = 0;
    if (!core.memory.port(ExternalAccess::Kind::port_in, port, sizeof(T), value))
      return access_failed(core);
    set_gpr<T>(core, rax, static_cast<T>(value));
    return Flow::next;
  }
};

struct Out {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    const std::uint16_t port = port_number(core, op);
    if (const Flow flow = check_port(core, port, sizeof(T)); flow != Flow::next) return flow;
    std::uint64_t value = get_gpr<T>(core, rax);
    return core.memory.port(ExternalAccess::Kind::port_out, port, sizeof(T), value)
               ? Flow::next
               : access_failed(core);
  }
};

template <class T> std::uint64_t step(const Core& core) {
  return (core.state.system_flags & rflags_df) != 0 ? -std::uint64_t{sizeof(T)} : sizeof(T);
}

template <class T> Flow round_in(Core& core, const MicroOp&, std::uint16_t port) {
  std::uint64_t value = 0;
  T old{}; // the write must not fail after the port was read
  if (!core.memory.read<T>(core.state.gpr[rdi], old, Access::write)) return access_failed(core);
  if (!core.memory.port(ExternalAccess::Kind::port_in, port, sizeof(T), value))
    return access_failed(core);
  if (!core.memory.write<T>(core.state.gpr[rdi], static_cast<T>(value))) return access_failed(core);
  core.state.gpr[rdi] += step<T>(core);
  return Flow::next;
}

template <class T> Flow round_out(Core& core, const MicroOp& op, std::uint16_t port) {
  T item;
  const std::uint64_t base = op.segment == 0 ? 0 : core.state.segments[op.segment].base;
  if (!core.memory.read<T>(base + core.state.gpr[rsi], item)) return access_failed(core);
  std::uint64_t value = item;
  if (!core.memory.port(ExternalAccess::Kind::port_out, port, sizeof(T), value))
    return access_failed(core);
  core.state.gpr[rsi] += step<T>(core);
  return Flow::next;
}

template <bool Input> struct Items {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    const bool repeated = op.repeat || op.repeat_not;
    std::uint64_t& count = core.state.gpr[rcx];
    const auto port = get_gpr<std::uint16_t>(core, rdx);
    if (repeated && count == 0) return Flow::next;
    if (const Flow flow = check_port(core, port, sizeof(T)); flow != Flow::next) return flow;
    for (;;) {
      const Flow flow = Input ? round_in<T>(core, op, port) : round_out<T>(core, op, port);
      if (flow != Flow::next || !repeated) return flow;
      core.memory.external().retire();
      if (--count == 0) return Flow::next;
    }
  }
};

} // namespace

Handler select_io(const Instruction& in, MicroOp& op) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_IN:
    op.code = in.shape == Shape::ri ? 1 : 0;
    return in.size(0) == 8 ? nullptr : pick_size<In>(in.size(0));
  case ZYDIS_MNEMONIC_OUT:
    op.code = in.shape == Shape::rr ? 0 : 1;
    return in.size(1) == 8 ? nullptr : pick_size<Out>(in.size(1));
  case ZYDIS_MNEMONIC_INSB:
  case ZYDIS_MNEMONIC_INSW:
  case ZYDIS_MNEMONIC_INSD:
    return op.address32 ? nullptr : pick_size<Items<true>>(in.size(0));
  case ZYDIS_MNEMONIC_OUTSB:
  case ZYDIS_MNEMONIC_OUTSW:
  case ZYDIS_MNEMONIC_OUTSD:
    return op.address32 ? nullptr : pick_size<Items<false>>(in.size(1));
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
