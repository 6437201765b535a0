// mov movzx movsx movsxd movbe movnti lea, push pop, cmovcc setcc, bswap, cbw ... cqo, xlat, leave, nop.
#include "vmm/softcpu/instruction.hpp"

#include <bit>
#include <utility>

namespace slat::vmm::softcpu {
namespace {

template <class T> T byte_swap(T value) {
  if constexpr (sizeof(T) == 2)
    return __builtin_bswap16(value);
  else if constexpr (sizeof(T) == 4)
    return __builtin_bswap32(value);
  else if constexpr (sizeof(T) == 8)
    return __builtin_bswap64(value);
  else
    return value;
}

struct Move {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value) || !set_destination<T, S>(core, op, value))
      return access_failed(core);
    return Flow::next;
  }
};

struct MoveSwapped {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value) || !set_destination<T, S>(core, op, byte_swap(value)))
      return access_failed(core);
    return Flow::next;
  }
};

/// From is the source's type; op.size the destination's.
template <bool Signed> struct Extend {
  template <class From, Shape S> static Flow run(Core& core, const MicroOp& op) {
    From from;
    if (!source<From, S>(core, op, from)) return access_failed(core);
    const std::uint64_t wide = Signed ? sign_extend(from) : std::uint64_t{from};
    if (op.size == 8)
      set_register<std::uint64_t>(core, op.dst, wide);
    else if (op.size == 4)
      set_register<std::uint32_t>(core, op.dst, static_cast<std::uint32_t>(wide));
    else
      set_register<std::uint16_t>(core, op.dst, static_cast<std::uint16_t>(wide));
    return Flow::next;
  }
};

struct Lea {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    set_register<T>(core, op.dst, static_cast<T>(offset_address(core, op)));
    return Flow::next;
  }
};

struct Push {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if constexpr (S == Shape::r) {
      value = get_register<T>(core, op.dst);
    } else if (!core.memory.read<T>(linear_address(core, op), value)) {
      return access_failed(core);
    }
    return push<T>(core, value) ? Flow::next : stack_failed(core);
  }
};

template <class T> Flow push_immediate(Core& core, const MicroOp& op) {
  return push<T>(core, static_cast<T>(op.immediate)) ? Flow::next : stack_failed(core);
}

struct Pop {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!core.memory.read<T>(core.state.gpr[rsp], value)) return stack_failed(core);
    // An address with rsp in it, and rsp as what is popped, are of after the increment.
    core.state.gpr[rsp] += sizeof(T);
    if constexpr (S == Shape::r) {
      set_register<T>(core, op.dst, value);
    } else if (!core.memory.write<T>(linear_address(core, op), value)) {
      core.state.gpr[rsp] -= sizeof(T);
      return access_failed(core);
    }
    return Flow::next;
  }
};

Flow leave(Core& core, const MicroOp&) {
  std::uint64_t frame;
  if (!core.memory.read<std::uint64_t>(core.state.gpr[rbp], frame)) return stack_failed(core);
  core.state.gpr[rsp] = core.state.gpr[rbp] + 8;
  core.state.gpr[rbp] = frame;
  return Flow::next;
}

/// The source is read, and the upper half of a 32-bit register cleared, whatever the condition.
struct ConditionalMove {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value)) return access_failed(core);
    if (!condition(core.state.flags, op.code)) value = get_register<T>(core, op.dst);
    set_register<T>(core, op.dst, value);
    return Flow::next;
  }
};

struct SetByCondition {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    const T value = condition(core.state.flags, op.code) ? 1 : 0;
    return set_destination<T, S>(core, op, value) ? Flow::next : access_failed(core);
  }
};

struct ByteSwap {
  template <class T> static Flow run(Core& core, const MicroOp& op) {
    set_register<T>(core, op.dst, byte_swap(get_register<T>(core, op.dst)));
    return Flow::next;
  }
};

/// cbw, cwde, cdqe.
template <class From, class To> Flow widen(Core& core, const MicroOp&) {
  set_gpr<To>(core, rax, static_cast<To>(sign_extend(get_gpr<From>(core, rax))));
  return Flow::next;
}

/// cwd, cdq, cqo.
template <class T> Flow spread_sign(Core& core, const MicroOp&) {
  const bool negative = sign_extend(get_gpr<T>(core, rax)) >> 63 != 0;
  set_gpr<T>(core, rdx, negative ? static_cast<T>(~T{0}) : T{0});
  return Flow::next;
}

Flow xlat(Core& core, const MicroOp& op) {
  std::uint64_t at = core.state.gpr[rbx] + get_gpr<std::uint8_t>(core, rax);
  if (op.address32) at &= UINT32_MAX;
  if (op.segment != 0) at += core.state.segments[op.segment].base;
  std::uint8_t value;
  if (!core.memory.read<std::uint8_t>(at, value)) return access_failed(core);
  set_gpr<std::uint8_t>(core, rax, value);
  return Flow::next;
}

Flow nothing(Core&, const MicroOp&) {
  return Flow::next;
}

template <class From> Handler pick_extend(bool is_signed, Shape shape) {
  const bool memory = shape == Shape::rm;
  if (is_signed)
    return memory ? Extend<true>::run<From, Shape::rm> : Extend<true>::run<From, Shape::rr>;
  return memory ? Extend<false>::run<From, Shape::rm> : Extend<false>::run<From, Shape::rr>;
}

Handler extend(const Instruction& in, bool is_signed) {
  switch (in.size(1)) {
  case 1:
    return pick_extend<std::uint8_t>(is_signed, in.shape);
  case 2:
    return pick_extend<std::uint16_t>(is_signed, in.shape);
  default:
    return pick_extend<std::uint32_t>(is_signed, in.shape);
  }
}

bool general(const Instruction& in, std::size_t operand) {
  if (in.operands[operand].type != ZYDIS_OPERAND_TYPE_REGISTER) return true;
  const auto kind = ZydisRegisterGetClass(in.operands[operand].reg.value);
  return kind == ZYDIS_REGCLASS_GPR8 || kind == ZYDIS_REGCLASS_GPR16 ||
         kind == ZYDIS_REGCLASS_GPR32 || kind == ZYDIS_REGCLASS_GPR64;
}

Handler select_stack(const Instruction& in) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_PUSH:
    if (!general(in, 0)) return nullptr;
    if (in.shape == Shape::i)
      return in.info.operand_width == 16 ? push_immediate<std::uint16_t>
                                         : push_immediate<std::uint64_t>;
    return pick_unary<Push>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_POP:
    return general(in, 0) ? pick_unary<Pop>(in.size(0), in.shape) : nullptr;
  case ZYDIS_MNEMONIC_LEAVE:
    return in.info.operand_width == 64 ? leave : nullptr;
  default:
    return nullptr;
  }
}

Handler select_accumulator(const Instruction& in) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_CBW:
    return widen<std::uint8_t, std::uint16_t>;
  case ZYDIS_MNEMONIC_CWDE:
    return widen<std::uint16_t, std::uint32_t>;
  case ZYDIS_MNEMONIC_CDQE:
    return widen<std::uint32_t, std::uint64_t>;
  case ZYDIS_MNEMONIC_CWD:
    return spread_sign<std::uint16_t>;
  case ZYDIS_MNEMONIC_CDQ:
    return spread_sign<std::uint32_t>;
  case ZYDIS_MNEMONIC_CQO:
    return spread_sign<std::uint64_t>;
  case ZYDIS_MNEMONIC_XLAT:
    return xlat;
  default:
    return nullptr;
  }
}

} // namespace

Handler select_move(const Instruction& in, MicroOp& op) {
  switch (in.info.meta.category) {
  case ZYDIS_CATEGORY_CMOV:
    op.code = in.info.opcode & 15;
    return pick_binary<ConditionalMove>(in.size(0), in.shape);
  case ZYDIS_CATEGORY_SETCC:
    op.code = in.info.opcode & 15;
    return pick_unary<SetByCondition>(1, in.shape);
  case ZYDIS_CATEGORY_NOP:
  case ZYDIS_CATEGORY_WIDENOP:
  case ZYDIS_CATEGORY_PREFETCH:
    return nothing;
  default:
    break;
  }
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_MOV:
    return general(in, 0) && general(in, 1) ? pick_binary<Move>(in.size(0), in.shape) : nullptr;
  case ZYDIS_MNEMONIC_MOVNTI:
    return pick_binary<Move>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_MOVBE:
    return pick_binary<MoveSwapped>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_MOVZX:
    return extend(in, false);
  case ZYDIS_MNEMONIC_MOVSX:
  case ZYDIS_MNEMONIC_MOVSXD:
    return extend(in, true);
  case ZYDIS_MNEMONIC_LEA:
    return pick_size<Lea>(in.size(0));
  case ZYDIS_MNEMONIC_BSWAP:
    return in.size(0) >= 4 ? pick_size<ByteSwap>(in.size(0)) : nullptr;
  case ZYDIS_MNEMONIC_NOP:
  case ZYDIS_MNEMONIC_ENDBR64:
  case ZYDIS_MNEMONIC_PREFETCHW:
    return nothing;
  default:
    if (Handler handler = select_stack(in)) return handler;
    return select_accumulator(in);
  }
}

} // namespace slat::vmm::softcpu
