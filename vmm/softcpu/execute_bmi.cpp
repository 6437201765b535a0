// BMI1 and BMI2: andn bextr blsi blsr blsmsk bzhi mulx pdep pext rorx sarx shlx shrx. 32 and 64 bits.
#include "vmm/softcpu/instruction.hpp"

#include <bit>

namespace slat::vmm::softcpu {
namespace {

template <class T> constexpr unsigned bits = 8 * sizeof(T);

template <class T> void set_logic(Core& core, T result, bool carry) {
  core.state.flags.shift<T>(result, carry, false);
}

/// op dst, r, r/m: the memory operand is the third.
template <class Operation> struct LastInMemory {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T last;
    if constexpr (S == Shape::rm) {
      if (!core.memory.read<T>(linear_address(core, op), last)) return access_failed(core);
    } else {
      last = get_register<T>(core, op.third);
    }
    Operation::template apply<T>(core, op, get_register<T>(core, op.src), last);
    return Flow::next;
  }
};

/// op dst, r/m, r: the memory operand is the second.
template <class Operation> struct MiddleInMemory {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value)) return access_failed(core);
    set_register<T>(core, op.dst,
                    Operation::template apply<T>(core, value, get_register<T>(core, op.third)));
    return Flow::next;
  }
};

/// op dst, r/m (, imm)
template <class Operation> struct Single {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value)) return access_failed(core);
    set_register<T>(core, op.dst, Operation::template apply<T>(core, op, value));
    return Flow::next;
  }
};

struct Andn {
  template <class T> static void apply(Core& core, const MicroOp& op, T a, T b) {
    const T result = static_cast<T>(~a & b);
    set_register<T>(core, op.dst, result);
    set_logic<T>(core, result, false);
  }
};

struct Pdep {
  template <class T> static void apply(Core& core, const MicroOp& op, T value, T mask) {
    T result = 0;
    for (; mask != 0; mask &= mask - 1, value >>= 1)
      if ((value & 1) != 0) result |= mask & (~mask + 1);
    set_register<T>(core, op.dst, result);
  }
};

struct Pext {
  template <class T> static void apply(Core& core, const MicroOp& op, T value, T mask) {
    T result = 0;
    for (unsigned to = 0; mask != 0; mask &= mask - 1, ++to)
      if ((value & mask & (~mask + 1)) != 0) result |= T{1} << to;
    set_register<T>(core, op.dst, result);
  }
};

/// The first operand has the high half, and wins where both are the same.
struct Mulx {
  template <class T> static void apply(Core& core, const MicroOp& op, T, T value) {
    const Word128 product = Word128{get_gpr<T>(core, rdx)} * value;
    set_register<T>(core, op.src, static_cast<T>(product));
    set_register<T>(core, op.dst, static_cast<T>(product >> bits<T>));
  }
};

struct Bextr {
  template <class T> static T apply(Core& core, T value, T control) {
    const unsigned start = control & 255;
    const unsigned length = static_cast<unsigned>(control >> 8) & 255;
    T result = start < bits<T> ? static_cast<T>(value >> start) : T{0};
    if (length < bits<T>) result &= static_cast<T>((T{1} << length) - 1);
    core.state.flags.set(result == 0 ? rflags_zf : 0);
    return result;
  }
};

struct Bzhi {
  template <class T> static T apply(Core& core, T value, T control) {
    const unsigned from = control & 255;
    const T result = from < bits<T> ? static_cast<T>(value & ((T{1} << from) - 1)) : value;
    set_logic<T>(core, result, from >= bits<T>);
    return result;
  }
};

struct Shlx {
  template <class T> static T apply(Core&, T value, T count) {
    return static_cast<T>(value << count % bits<T>);
  }
};

struct Shrx {
  template <class T> static T apply(Core&, T value, T count) {
    return static_cast<T>(value >> count % bits<T>);
  }
};

struct Sarx {
  template <class T> static T apply(Core&, T value, T count) {
    return static_cast<T>(static_cast<std::int64_t>(sign_extend(value)) >> count % bits<T>);
  }
};

struct Rorx {
  template <class T> static T apply(Core&, const MicroOp& op, T value) {
    return std::rotr(value, static_cast<int>(op.immediate % bits<T>));
  }
};

struct Blsi {
  template <class T> static T apply(Core& core, const MicroOp&, T value) {
    const T result = static_cast<T>(value & (~value + 1));
    set_logic<T>(core, result, value != 0);
    return result;
  }
};

struct Blsr {
  template <class T> static T apply(Core& core, const MicroOp&, T value) {
    const T result = static_cast<T>(value & (value - 1));
    set_logic<T>(core, result, value == 0);
    return result;
  }
};

struct Blsmsk {
  template <class T> static T apply(Core& core, const MicroOp&, T value) {
    const T result = static_cast<T>(value ^ (value - 1));
    set_logic<T>(core, result, value == 0);
    return result;
  }
};

} // namespace

Handler select_bmi(const Instruction& in, MicroOp&) {
  const unsigned size = in.size(0);
  const bool middle = in.shape == Shape::rm;
  const bool last = in.third == OperandKind::mem;
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_ANDN:
    return pick_wide<LastInMemory<Andn>>(size, last);
  case ZYDIS_MNEMONIC_PDEP:
    return pick_wide<LastInMemory<Pdep>>(size, last);
  case ZYDIS_MNEMONIC_PEXT:
    return pick_wide<LastInMemory<Pext>>(size, last);
  case ZYDIS_MNEMONIC_MULX:
    return pick_wide<LastInMemory<Mulx>>(size, last);
  case ZYDIS_MNEMONIC_BEXTR:
    return pick_wide<MiddleInMemory<Bextr>>(size, middle);
  case ZYDIS_MNEMONIC_BZHI:
    return pick_wide<MiddleInMemory<Bzhi>>(size, middle);
  case ZYDIS_MNEMONIC_SHLX:
    return pick_wide<MiddleInMemory<Shlx>>(size, middle);
  case ZYDIS_MNEMONIC_SHRX:
    return pick_wide<MiddleInMemory<Shrx>>(size, middle);
  case ZYDIS_MNEMONIC_SARX:
    return pick_wide<MiddleInMemory<Sarx>>(size, middle);
  case ZYDIS_MNEMONIC_RORX:
    return pick_wide<Single<Rorx>>(size, middle);
  case ZYDIS_MNEMONIC_BLSI:
    return pick_wide<Single<Blsi>>(size, middle);
  case ZYDIS_MNEMONIC_BLSR:
    return pick_wide<Single<Blsr>>(size, middle);
  case ZYDIS_MNEMONIC_BLSMSK:
    return pick_wide<Single<Blsmsk>>(size, middle);
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
