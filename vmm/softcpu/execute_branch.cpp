// jmp jcc call ret loop jrcxz, and the flags: clc stc cmc cld std lahf sahf pushf popf.
#include "vmm/softcpu/instruction.hpp"

#include <array>
#include <utility>

namespace slat::vmm::softcpu {
namespace {

Flow jump(Core& core, std::uint64_t to) {
  core.state.rip = to;
  return Flow::jump;
}

template <unsigned Code> Flow jump_if(Core& core, const MicroOp& op) {
  return jump(core, condition(core.state.flags, Code) ? op.immediate : op.next_rip);
}

template <std::size_t... Codes>
constexpr std::array<Handler, 16> make_jumps(std::index_sequence<Codes...>) {
  return {jump_if<Codes>...};
}

constexpr auto jumps = make_jumps(std::make_index_sequence<16>());

Flow jump_direct(Core& core, const MicroOp& op) {
  return jump(core, op.immediate);
}

/// jmp and call through a register or memory.
template <bool Call> struct Indirect {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T target;
    if (!destination<T, S>(core, op, target, Access::read)) return access_failed(core);
    if (Call && !push<std::uint64_t>(core, op.next_rip)) return stack_failed(core);
    return jump(core, target);
  }
};

Flow call_direct(Core& core, const MicroOp& op) {
  if (!push<std::uint64_t>(core, op.next_rip)) return stack_failed(core);
  return jump(core, op.immediate);
}

/// The immediate is what the callee removes from the stack.
Flow ret(Core& core, const MicroOp& op) {
  std::uint64_t target;
  if (!pop<std::uint64_t>(core, target)) return stack_failed(core);
  core.state.gpr[rsp] += op.immediate;
  return jump(core, target);
}

enum class LoopKind : std::uint8_t { always, while_zero, while_not_zero };

template <LoopKind Kind> Flow loop(Core& core, const MicroOp& op) {
  const std::uint64_t mask = op.address32 ? UINT32_MAX : UINT64_MAX;
  const std::uint64_t count = (core.state.gpr[rcx] - 1) & mask;
  core.state.gpr[rcx] = count;
  bool again = count != 0;
  if (Kind == LoopKind::while_zero) again = again && core.state.flags.zf();
  if (Kind == LoopKind::while_not_zero) again = again && !core.state.flags.zf();
  return jump(core, again ? op.immediate : op.next_rip);
}

Flow jump_count_zero(Core& core, const MicroOp& op) {
  const std::uint64_t mask = op.address32 ? UINT32_MAX : UINT64_MAX;
  return jump(core, (core.state.gpr[rcx] & mask) == 0 ? op.immediate : op.next_rip);
}

Handler near(const Instruction& in, Handler direct, Handler indirect) {
  if (in.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return nullptr;
  return in.shape == Shape::i ? direct : indirect;
}

Flow clear_carry(Core& core, const MicroOp&) {
  core.state.flags.set_cf(false);
  return Flow::next;
}

Flow set_carry(Core& core, const MicroOp&) {
  core.state.flags.set_cf(true);
  return Flow::next;
}

Flow complement_carry(Core& core, const MicroOp&) {
  core.state.flags.set_cf(!core.state.flags.cf());
  return Flow::next;
}

Flow clear_direction(Core& core, const MicroOp&) {
  core.state.system_flags &= ~rflags_df;
  return Flow::next;
}

Flow set_direction(Core& core, const MicroOp&) {
  core.state.system_flags |= rflags_df;
  return Flow::next;
}

constexpr std::uint64_t ah_flags = rflags_sf | rflags_zf | rflags_af | rflags_pf | rflags_cf;
constexpr std::uint8_t ah = 1; // as bytes into CpuState::gpr

Flow load_ah(Core& core, const MicroOp&) {
  set_register<std::uint8_t>(
      core, ah, static_cast<std::uint8_t>((core.state.flags.get() & ah_flags) | rflags_fixed));
  return Flow::next;
}

Flow store_ah(Core& core, const MicroOp&) {
  const std::uint64_t value = get_register<std::uint8_t>(core, ah);
  core.state.flags.set((core.state.flags.get() & rflags_of) | (value & ah_flags));
  return Flow::next;
}

template <class T> Flow push_flags(Core& core, const MicroOp&) {
  const std::uint64_t value = core.state.rflags() & ~(rflags_rf | rflags_vm);
  return push<T>(core, static_cast<T>(value)) ? Flow::next : stack_failed(core);
}

/// Ends the block: an interrupt may be due now.
template <class T> Flow pop_flags(Core& core, const MicroOp& op) {
  T value;
  if (!pop<T>(core, value)) return stack_failed(core);
  CpuState& state = core.state;
  std::uint64_t may = rflags_arithmetic | rflags_tf | rflags_df | rflags_nt;
  if (sizeof(T) > 2) may |= rflags_ac | rflags_id;
  if (state.cpl == 0) may |= rflags_iopl;
  if (state.cpl <= (state.system_flags & rflags_iopl) >> 12) may |= rflags_if;
  if (const char* what = unsupported_flags(core, value & may, state.cpl)) {
    state.gpr[rsp] -= sizeof(T);
    return unsupported(core, what);
  }
  set_rflags(core, (state.rflags() & ~(may | rflags_rf)) | (value & may));
  state.rip = op.next_rip;
  return Flow::jump;
}

} // namespace

Handler select_branch(const Instruction& in, MicroOp& op) {
  if (in.info.meta.category == ZYDIS_CATEGORY_COND_BR) {
    switch (in.info.mnemonic) {
    case ZYDIS_MNEMONIC_LOOP:
      return loop<LoopKind::always>;
    case ZYDIS_MNEMONIC_LOOPE:
      return loop<LoopKind::while_zero>;
    case ZYDIS_MNEMONIC_LOOPNE:
      return loop<LoopKind::while_not_zero>;
    case ZYDIS_MNEMONIC_JRCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
      return jump_count_zero;
    default:
      return in.shape == Shape::i ? jumps[in.info.opcode & 15] : nullptr;
    }
  }
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_JMP:
    return near(in, jump_direct, pick_unary<Indirect<false>>(8, in.shape));
  case ZYDIS_MNEMONIC_CALL:
    return near(in, call_direct, pick_unary<Indirect<true>>(8, in.shape));
  case ZYDIS_MNEMONIC_RET:
    op.immediate &= 0xffff;
    return in.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? nullptr : ret;
  default:
    return nullptr;
  }
}

Handler select_flag(const Instruction& in, MicroOp&) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_CLC:
    return clear_carry;
  case ZYDIS_MNEMONIC_STC:
    return set_carry;
  case ZYDIS_MNEMONIC_CMC:
    return complement_carry;
  case ZYDIS_MNEMONIC_CLD:
    return clear_direction;
  case ZYDIS_MNEMONIC_STD:
    return set_direction;
  case ZYDIS_MNEMONIC_LAHF:
    return load_ah;
  case ZYDIS_MNEMONIC_SAHF:
    return store_ah;
  case ZYDIS_MNEMONIC_PUSHF:
    return push_flags<std::uint16_t>;
  case ZYDIS_MNEMONIC_PUSHFQ:
    return push_flags<std::uint64_t>;
  case ZYDIS_MNEMONIC_POPF:
    return pop_flags<std::uint16_t>;
  case ZYDIS_MNEMONIC_POPFQ:
    return pop_flags<std::uint64_t>;
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
