// bt bts btr btc, bsf bsr, tzcnt lzcnt popcnt.
#include "vmm/softcpu/instruction.hpp"

#include <bit>

namespace slat::vmm::softcpu {
namespace {

enum class BitChange : std::uint8_t { none, set, reset, complement };

template <class T> T changed(T value, T mask, BitChange change) {
  switch (change) {
  case BitChange::set:
    return static_cast<T>(value | mask);
  case BitChange::reset:
    return static_cast<T>(value & ~mask);
  case BitChange::complement:
    return static_cast<T>(value ^ mask);
  case BitChange::none:
    break;
  }
  return value;
}

/// Only CF is defined. A bit number from a register may lie outside of the memory operand: the word that has it is
/// what is accessed.
template <BitChange Change, bool Locked> struct BitTest {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    constexpr unsigned bits = 8 * sizeof(T);
    std::uint64_t number = op.immediate;
    if constexpr (S == Shape::rr || S == Shape::mr)
      number = sign_extend(get_register<T>(core, op.src));
    const T mask = static_cast<T>(T{1} << number % bits);
    T old{};
    if constexpr (writes_memory(S)) {
      std::uint64_t at = linear_address(core, op);
      if constexpr (S == Shape::mr) {
        const auto word = static_cast<std::int64_t>(number) >> std::countr_zero(bits);
        at = offset_address(core, op) + static_cast<std::uint64_t>(word) * sizeof(T);
        if (op.address32) at &= UINT32_MAX;
        if (op.segment != 0) at += core.state.segments[op.segment].base;
      }
      if constexpr (Locked && Change != BitChange::none) {
        const auto change = [mask](T value) { return changed(value, mask, Change); };
        if (!core.memory.modify<T>(at, old, change)) return access_failed(core);
      } else {
        constexpr auto intent = Change == BitChange::none ? Access::read : Access::write;
        if (!core.memory.read<T>(at, old, intent)) return access_failed(core);
        if (Change != BitChange::none && !core.memory.write<T>(at, changed(old, mask, Change)))
          return access_failed(core);
      }
    } else {
      old = get_register<T>(core, op.dst);
      if (Change != BitChange::none) set_register<T>(core, op.dst, changed(old, mask, Change));
    }
    core.state.flags.set_cf((old & mask) != 0);
    return Flow::next;
  }
};

/// bsf and bsr leave the destination alone where the source is 0, as all processors do: not even the upper half is
/// cleared.
template <bool Reverse> struct BitScan {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value)) return access_failed(core);
    if (value != 0) {
      const int at = Reverse ? static_cast<int>(8 * sizeof(T)) - 1 - std::countl_zero(value)
                             : std::countr_zero(value);
      set_register<T>(core, op.dst, static_cast<T>(at));
    }
    core.state.flags.logic<T>(value); // ZF is defined
    return Flow::next;
  }
};

/// tzcnt and lzcnt: CF and ZF are defined.
template <bool Leading> struct CountZeros {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value)) return access_failed(core);
    const T count = static_cast<T>(Leading ? std::countl_zero(value) : std::countr_zero(value));
    set_register<T>(core, op.dst, count);
    core.state.flags.shift<T>(count, value == 0, false);
    return Flow::next;
  }
};

struct PopulationCount {
  template <class T, Shape S> static Flow run(Core& core, const MicroOp& op) {
    T value;
    if (!source<T, S>(core, op, value)) return access_failed(core);
    set_register<T>(core, op.dst, static_cast<T>(std::popcount(value)));
    core.state.flags.set(value == 0 ? rflags_zf : 0);
    return Flow::next;
  }
};

template <BitChange Change> Handler bit_test(const Instruction& in) {
  return in.has(ZYDIS_ATTRIB_HAS_LOCK) ? pick_binary<BitTest<Change, true>>(in.size(0), in.shape)
                                       : pick_binary<BitTest<Change, false>>(in.size(0), in.shape);
}

} // namespace

Handler select_bit(const Instruction& in, MicroOp&) {
  switch (in.info.mnemonic) {
  case ZYDIS_MNEMONIC_BT:
    return bit_test<BitChange::none>(in);
  case ZYDIS_MNEMONIC_BTS:
    return bit_test<BitChange::set>(in);
  case ZYDIS_MNEMONIC_BTR:
    return bit_test<BitChange::reset>(in);
  case ZYDIS_MNEMONIC_BTC:
    return bit_test<BitChange::complement>(in);
  case ZYDIS_MNEMONIC_BSF:
    return pick_binary<BitScan<false>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_BSR:
    return pick_binary<BitScan<true>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_TZCNT:
    return pick_binary<CountZeros<false>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_LZCNT:
    return pick_binary<CountZeros<true>>(in.size(0), in.shape);
  case ZYDIS_MNEMONIC_POPCNT:
    return pick_binary<PopulationCount>(in.size(0), in.shape);
  default:
    return nullptr;
  }
}

} // namespace slat::vmm::softcpu
