// shl shr sar rol ror rcl rcr shld shrd. A count of 0 (after masking) changes no flag.
#include "vmm/softcpu/instruction.hpp"

namespace slat::vmm::softcpu {
namespace {

template <class T> constexpr unsigned bits = 8 * sizeof(T);

template <class T> bool top(T value) {
  return value >> (bits<T> - 1) != 0;
}

// OF is defined for a count of 1 only; other counts get what the formula gives.

struct Shl {
  template <class T> static T apply(Flags& flags, T a, unsigned count) {
    const std::uint64_t wide = a;
    const T result = static_cast<T>(wide << count);
    const bool carry = count <= bits<T> && (wide >> (bits<T> - count) & 1) != 0;
    flags.shift<T>(result, carry, carry != top(result));
    return result;
  }
};

struct Shr {
  template <class T> static T apply(Flags& flags, T a, unsigned count) {
    const std::uint64_t wide = a;
    const T result = static_cast<T>(wide >> count);
    flags.shift<T>(result, (wide >> (count - 1) & 1) != 0, top(a));
    return result;
  }
};

struct Sar {
  template <class T> static T apply(Flags& flags, T a, unsigned count) {
    const auto wide = static_cast<std::int64_t>(sign_extend(a));
    const T result = static_cast<T>(wide >> count);
    flags.shift<T>(result, (wide >> (count - 1) & 1) != 0, false);
    return result;
  }
};

struct Rol {
  template <class T> static T apply(Flags& flags, T a, unsigned count) {
    const unsigned turn = count % bits<T>;
    const T result = turn == 0 ? a : static_cast<T>(a << turn | a >> (bits<T> - turn));
    flags.set_cf((result & 1) != 0);
    flags.set_of(((result & 1) != 0) != top(result));
    return result;
  }
};

struct Ror {
  template <class T> static T apply(Flags& flags, T a, unsigned count) {
    const unsigned turn = count % bits<T>;
    const T result = turn == 0 ? a : static_cast<T>(a >> turn | a << (bits<T> - turn));
    flags.set_cf(top(result));
    flags.set_of(top(result) != top(static_cast<T>(result << 1)));
    return result;
  }
};

// Through carry: at most 63 single steps.

struct Rcl {
  template <class T> static T apply(Flags& flags, T a, unsigned count) {
    bool carry = flags.cf();
    for (unsigned i = 0; i < count % (bits<T> + 1); ++i) {
      const bool out = top(a);
      a = static_cast<T>(a << 1 | (carry ? 1 : 0));
      carry = out;
    }
    flags.set_cf(carry);
    flags.set_of(carry != top(a));
    return a;
  }
};

struct Rcr {
  template <class T> static T apply(Flags& flags, T a, unsigned count) {
    bool carry = flags.cf();
    for (unsigned i = 0; i < count % (bits<T> + 1); ++i) {
      const bool out = (a & 1) != 0;
      a = static_cast<T>(a >> 1 | T{carry} << (bits<T> - 1));
      carry = out;
    }
    flags.set_cf(carry);
    flags.set_of(top(a) != top(static_cast<T>(a << 1)));
    return a;
  }
};

template <class T> unsigned masked(std::uint8_t count) {
  return count & (sizeof(T) == 8 ? 63U : 31U);
}

/// The count is an immediate, or in cl.
template <class Operation> struct Shift {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T a;
    std::uint8_t by_register = 0;
    if constexpr (S == Shape::rr || S == Shape::mr)
      by_register = get_register<std::uint8_t>(core, op.src);
    const unsigned count = masked<T>(
        S == Shape::rr || S == Shape::mr ? by_register : static_cast<std::uint8_t>(op.immediate));
    if (!destination<T, S>(core, op, a, Access::write)) return access_failed(core);
    Flags flags = core.state.flags;
    const T result = count == 0 ? a : Operation::template apply<T>(flags, a, count);
    if (!set_destination<T, S>(core, op, result)) return access_failed(core);
    core.state.flags = flags;
    return Flow::next;
  }
};

/// Of 16-bit operands with a count beyond 16 the result is undefined.
template <bool Left> struct DoubleShift {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T a;
    if (!destination<T, S>(core, op, a, Access::write)) return access_failed(core);
    const T b = get_register<T>(core, op.src);
    const unsigned count = masked<T>(op.code != 0 ? get_gpr<std::uint8_t>(core, rcx)
                                                  : static_cast<std::uint8_t>(op.immediate));
    Flags flags = core.state.flags;
    T result = a;
    if (count != 0) {
      bool carry;
      if constexpr (Left) {
        const Word128 both = Word128{a} << bits<T> | b;
        result = static_cast<T>(both << count >> bits<T>);
        carry = (both >> (2 * bits<T> - count) & 1) != 0;
      } else {
        const Word128 both = Word128{b} << bits<T> | a;
        result = static_cast<T>(both >> count);
        carry = (both >> (count - 1) & 1) != 0;
      }
      flags.shift<T>(result, carry, top(a) != top(result));
    }
    if (!set_destination<T, S>(core, op, result)) return access_failed(core);
    core.state.flags = flags;
    return Flow::next;
  }
};

template <bool Left> Handler double_shift(const Instruction& in, MicroOp& op) {
  op.code = in.third == OperandKind::reg ? 1 : 0;
  return pick_binary<DoubleShift<Left>>(in.size(0), in.shape);
}

} // namespace

Handler select_shift(const Instruction& in, MicroOp& op) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_SHL:
    return pick_binary<Shift<Shl>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_SHR:
    return pick_binary<Shift<Shr>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_SAR:
    return pick_binary<Shift<Sar>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_ROL:
    return pick_binary<Shift<Rol>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_ROR:
    return pick_binary<Shift<Ror>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_RCL:
    return pick_binary<Shift<Rcl>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_RCR:
    return pick_binary<Shift<Rcr>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_SHLD:
    return double_shift<true>(in, op);
  case ZYDIS_MNEMONIC_SHRD:
    return double_shift<false>(in, op);
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
