// add adc sub sbb and or xor cmp test, inc dec neg not, adcx adox: also locked.
#include "vmm/softcpu/instruction.hpp"

namespace slat::vmm::softcpu {
namespace {

struct Add {
  static constexpr bool writes = true;

  template <class T> static T apply(Flags& flags, T a, T b) {
    const T result = static_cast<T>(a + b);
    flags.add<T>(a, b, result);
    return result;
  }
};

struct Adc {
  static constexpr bool writes = true;

  template <class T> static T apply(Flags& flags, T a, T b) {
    const T result = static_cast<T>(a + b + (flags.cf() ? 1 : 0));
    flags.add<T>(a, b, result);
    return result;
  }
};

struct Sub {
  static constexpr bool writes = true;

  template <class T> static T apply(Flags& flags, T a, T b) {
    const T result = static_cast<T>(a - b);
    flags.sub<T>(a, b, result);
    return result;
  }
};

struct Cmp : Sub {
  static constexpr bool writes = false;
};

struct Sbb {
  static constexpr bool writes = true;

  template <class T> static T apply(Flags& flags, T a, T b) {
    const T result = static_cast<T>(a - b - (flags.cf() ? 1 : 0));
    flags.sub<T>(a, b, result);
    return result;
  }
};

struct And {
  static constexpr bool writes = true;

  template <class T> static T apply(Flags& flags, T a, T b) {
    const T result = static_cast<T>(a & b);
    flags.logic<T>(result);
    return result;
  }
};

struct Test : And {
  static constexpr bool writes = false;
};

struct Or {
  static constexpr bool writes = true;

  template <class T> static T apply(Flags& flags, T a, T b) {
    const T result = static_cast<T>(a | b);
    flags.logic<T>(result);
    return result;
  }
};

struct Xor {
  static constexpr bool writes = true;

  template <class T> static T apply(Flags& flags, T a, T b) {
    const T result = static_cast<T>(a ^ b);
    flags.logic<T>(result);
    return result;
  }
};

struct Inc {
  template <class T> static T apply(Flags& flags, T a) {
    const bool carry = flags.cf();
    const T result = Add::apply<T>(flags, a, 1);
    flags.set_cf(carry);
    return result;
  }
};

struct Dec {
  template <class T> static T apply(Flags& flags, T a) {
    const bool carry = flags.cf();
    const T result = Sub::apply<T>(flags, a, 1);
    flags.set_cf(carry);
    return result;
  }
};

struct Neg {
  template <class T> static T apply(Flags& flags, T a) { return Sub::apply<T>(flags, 0, a); }
};

struct Not {
  template <class T> static T apply(Flags&, T a) { return static_cast<T>(~a); }
};

// Flags take effect last: until the write is done, the instruction may have to start again.

template <class Operation> struct Binary {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T a, b;
    if (!source<T, S>(core, op, b)) return access_failed(core);
    if (!destination<T, S>(core, op, a, Operation::writes ? Access::write : Access::read))
      return access_failed(core);
    if constexpr (!Operation::writes) {
      Operation::template apply<T>(core.state.flags, a, b);
    } else if constexpr (writes_memory(S)) {
      Flags flags = core.state.flags;
      if (!set_destination<T, S>(core, op, Operation::template apply<T>(flags, a, b)))
        return access_failed(core);
      core.state.flags = flags;
    } else {
      set_register<T>(core, op.dst, Operation::template apply<T>(core.state.flags, a, b));
    }
    return Flow::next;
  }
};

template <class Operation> struct LockedBinary {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    if constexpr (writes_memory(S) && Operation::writes) {
      T old, b;
      if (!source<T, S>(core, op, b)) return access_failed(core);
      Flags flags = core.state.flags;
      const auto change = [&](T a) {
        flags = core.state.flags; // of the last try
        return Operation::template apply<T>(flags, a, b);
      };
      if (!core.memory.modify<T>(linear_address(core, op), old, change)) return access_failed(core);
      core.state.flags = flags;
      return Flow::next;
    }
    return raise(core, vector_undefined);
  }
};

template <class Operation> struct Unary {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T a;
    if (!destination<T, S>(core, op, a, Access::write)) return access_failed(core);
    Flags flags = core.state.flags;
    if (!set_destination<T, S>(core, op, Operation::template apply<T>(flags, a)))
      return access_failed(core);
    core.state.flags = flags;
    return Flow::next;
  }
};

template <class Operation> struct LockedUnary {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T old{};
    Flags flags = core.state.flags;
    const auto change = [&](T a) {
      flags = core.state.flags;
      return Operation::template apply<T>(flags, a);
    };
    if (!core.memory.modify<T>(linear_address(core, op), old, change)) return access_failed(core);
    core.state.flags = flags;
    return Flow::next;
  }
};

/// adcx and adox: an addition whose only carry, in and out, is CF or OF.
template <bool Overflow> struct AddCarry {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T b;
    if (!source<T, S>(core, op, b)) return access_failed(core);
    Flags& flags = core.state.flags;
    const Word128 sum = Word128{get_register<T>(core, op.dst)} + b +
                        ((Overflow ? flags.of() : flags.cf()) ? 1U : 0U);
    set_register<T>(core, op.dst, static_cast<T>(sum));
    const bool carry = (sum >> 8 * sizeof(T)) != 0;
    Overflow ? flags.set_of(carry) : flags.set_cf(carry);
    return Flow::next;
  }
};

template <class Operation> Handler binary(const Instruction& in) {
  return in.has(ZYDIS_ATTRIB_HAS_LOCK) ? pick_binary<LockedBinary<Operation>>(in.size(0), in.shape)
                                       : pick_binary<Binary<Operation>>(in.size(0), in.shape);
}

template <class Operation> Handler unary(const Instruction& in) {
  return in.has(ZYDIS_ATTRIB_HAS_LOCK) ? pick_unary<LockedUnary<Operation>>(in.size(0), in.shape)
                                       : pick_unary<Unary<Operation>>(in.size(0), in.shape);
}

} // namespace

Handler select_arithmetic(const Instruction& in, MicroOp&) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_ADD:
    return binary<Add>(in);
  case ZYDIS_MNEMONIC_ADC:
    return binary<Adc>(in);
  case ZYDIS_MNEMONIC_SUB:
    return binary<Sub>(in);
  case ZYDIS_MNEMONIC_SBB:
    return binary<Sbb>(in);
  case ZYDIS_MNEMONIC_AND:
    return binary<And>(in);
  case ZYDIS_MNEMONIC_OR:
    return binary<Or>(in);
  case ZYDIS_MNEMONIC_XOR:
    return binary<Xor>(in);
  case ZYDIS_MNEMONIC_CMP:
    return pick_binary<Binary<Cmp>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_TEST:
    return pick_binary<Binary<Test>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_INC:
    return unary<Inc>(in);
  case ZYDIS_MNEMONIC_DEC:
    return unary<Dec>(in);
  case ZYDIS_MNEMONIC_NEG:
    return unary<Neg>(in);
  case ZYDIS_MNEMONIC_NOT:
    return unary<Not>(in);
  case ZYDIS_MNEMONIC_ADCX:
    return pick_wide<AddCarry<false>>(in.size(0), in.shape == Shape::rm);
  case ZYDIS_MNEMONIC_ADOX:
    return pick_wide<AddCarry<true>>(in.size(0), in.shape == Shape::rm);
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
