// mul imul div idiv.
#include "vmm/softcpu/instruction.hpp"

#include <limits>
#include <type_traits>

namespace slat::vmm::softcpu {
namespace {

__extension__ using Signed128 = __int128;

template <class T> constexpr unsigned bits = 8 * sizeof(T);

/// The operand of an instruction with one: in a register (dst) or memory.
template <class T, Shape S> bool operand(Core& core, const MicroOp& op, T& value) {
  return destination<T, S>(core, op, value, Access::read);
}

/// rdx:rax, or ax for bytes.
template <class T> Word128 get_pair(const Core& core) {
  if constexpr (sizeof(T) == 1)
    return get_gpr<std::uint16_t>(core, rax);
  else
    return Word128{get_gpr<T>(core, rdx)} << bits<T> | get_gpr<T>(core, rax);
}

template <class T> void set_pair(Core& core, T low, T high) {
  if constexpr (sizeof(T) == 1) {
    set_gpr<std::uint16_t>(core, rax, static_cast<std::uint16_t>(low | high << 8));
  } else {
    set_gpr<T>(core, rax, low);
    set_gpr<T>(core, rdx, high);
  }
}

template <class T> Signed128 extended(T value) {
  return static_cast<std::make_signed_t<T>>(value);
}

/// SF, ZF, AF and PF are undefined.
void set_overflow(Core& core, bool overflow) {
  core.state.flags.set_cf(overflow);
  core.state.flags.set_of(overflow);
}

struct Mul {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T b;
    if (!operand<T, S>(core, op, b)) return access_failed(core);
    const Word128 product = Word128{get_gpr<T>(core, rax)} * b;
    const T high = static_cast<T>(product >> bits<T>);
    set_pair<T>(core, static_cast<T>(product), high);
    set_overflow(core, high != 0);
    return Flow::next;
  }
};

struct Imul {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T b;
    if (!operand<T, S>(core, op, b)) return access_failed(core);
    const Signed128 product = extended(get_gpr<T>(core, rax)) * extended(b);
    const T low = static_cast<T>(product);
    set_pair<T>(core, low, static_cast<T>(product >> bits<T>));
    set_overflow(core, product != extended(low));
    return Flow::next;
  }
};

/// Two operands, or three with an immediate.
template <bool Three> struct ImulTruncated {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T b;
    if (!source<T, S>(core, op, b)) return access_failed(core);
    const T a = Three ? static_cast<T>(op.immediate) : get_register<T>(core, op.dst);
    const Signed128 product = extended(a) * extended(b);
    const T low = static_cast<T>(product);
    set_register<T>(core, op.dst, low);
    set_overflow(core, product != extended(low));
    return Flow::next;
  }
};

struct Div {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T b;
    if (!operand<T, S>(core, op, b)) return access_failed(core);
    const Word128 a = get_pair<T>(core);
    if (b == 0 || a >> bits<T> >= b) return raise(core, vector_divide);
    if constexpr (sizeof(T) <= 4) {
      const auto small = static_cast<std::uint64_t>(a);
      set_pair<T>(core, static_cast<T>(small / b), static_cast<T>(small % b));
    } else {
      set_pair<T>(core, static_cast<T>(a / b), static_cast<T>(a % b));
    }
    return Flow::next;
  }
};

struct Idiv {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T divisor;
    if (!operand<T, S>(core, op, divisor)) return access_failed(core);
    Signed128 a;
    if constexpr (sizeof(T) == 8)
      a = static_cast<Signed128>(get_pair<T>(core));
    else // sign-extended from twice the size
      a = static_cast<std::int64_t>(static_cast<std::uint64_t>(get_pair<T>(core))
                                    << (64 - 2 * bits<T>)) >>
          (64 - 2 * bits<T>);
    const Signed128 b = extended(divisor);
    // The smallest dividend divided by -1 does not fit, not even in 128 bits.
    const bool overflows = b == -1 && a == static_cast<Signed128>(Word128{1} << 127);
    if (b == 0 || overflows) return raise(core, vector_divide);
    const Signed128 quotient = a / b;
    const T low = static_cast<T>(quotient);
    if (quotient != extended(low)) return raise(core, vector_divide);
    set_pair<T>(core, low, static_cast<T>(a % b));
    return Flow::next;
  }
};

} // namespace

Handler select_multiply(const Instruction& in, MicroOp&) {
  // Of the forms with one operand only that one is written out.
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_MUL:
    return pick_unary<Mul>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_IMUL:
    if (in.third == OperandKind::imm) return pick_binary<ImulTruncated<true>>(in.size(0), in.shape);
    if (in.shape == Shape::rr || in.shape == Shape::rm)
      return pick_binary<ImulTruncated<false>>(in.size(0), in.shape);
    return pick_unary<Imul>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_DIV:
    return pick_unary<Div>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_IDIV:
    return pick_unary<Idiv>(in.size(0), in.shape);
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
