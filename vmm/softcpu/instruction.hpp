// Between decoder and families of instructions: what Zydis found, and the choice of a handler for it.
//
// Each execute_*.cpp has the handlers of one family and its select_*(): the handler for an instruction of the family,
// nullptr for any other. Handlers are instantiated for operand size and for the kinds of operands ("shape").
#pragma once

#include "vmm/softcpu/core.hpp"

#include <Zydis/Zydis.h>
#include <array>
#include <cstdint>

namespace slat::vmm::softcpu {

enum class OperandKind : std::uint8_t { none, reg, mem, imm, other };

enum class Shape : std::uint8_t { none, r, m, i, rr, rm, ri, mr, mi };

struct Instruction {
  ZydisDecodedInstruction info;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
  Shape shape;       // of the first two visible operands
  OperandKind third; // of the third

  [[nodiscard]] bool has(ZydisInstructionAttributes attribute) const {
    return (info.attributes & attribute) != 0;
  }

  /// Of an operand, in bytes.
  [[nodiscard]] unsigned size(std::size_t operand) const { return operands[operand].size / 8U; }
};

// May adjust `op` too. Pure otherwise.
Handler select_move(const Instruction& instruction, MicroOp& op);
Handler select_arithmetic(const Instruction& instruction, MicroOp& op);
Handler select_shift(const Instruction& instruction, MicroOp& op);
Handler select_multiply(const Instruction& instruction, MicroOp& op);
Handler select_bit(const Instruction& instruction, MicroOp& op);
Handler select_bmi(const Instruction& instruction, MicroOp& op);
Handler select_string(const Instruction& instruction, MicroOp& op);
Handler select_exchange(const Instruction& instruction, MicroOp& op);
Handler select_branch(const Instruction& instruction, MicroOp& op);
Handler select_flag(const Instruction& instruction, MicroOp& op);
Handler select_io(const Instruction& instruction, MicroOp& op);
Handler select_system(const Instruction& instruction, MicroOp& op);
Handler select_segment(const Instruction& instruction, MicroOp& op);

constexpr bool writes_memory(Shape shape) {
  return shape == Shape::m || shape == Shape::mr || shape == Shape::mi;
}

/// The second operand. False: see access_failed().
template <class T, Shape S> [[nodiscard]] bool source(Core& core, const MicroOp& op, T& value) {
  if constexpr (S == Shape::rr || S == Shape::mr) {
    value = get_register<T>(core, op.src);
  } else if constexpr (S == Shape::rm) {
    return core.memory.read<T>(linear_address(core, op), value);
  } else {
    value = static_cast<T>(op.immediate);
  }
  return true;
}

/// The first operand of one that is read and, if `intent` says so, written.
template <class T, Shape S>
[[nodiscard]] bool destination(Core& core, const MicroOp& op, T& value, Access intent) {
  if constexpr (writes_memory(S)) {
    return core.memory.read<T>(linear_address(core, op), value, intent);
  } else {
    value = get_register<T>(core, op.dst);
    return true;
  }
}

template <class T, Shape S>
[[nodiscard]] bool set_destination(Core& core, const MicroOp& op, T value) {
  if constexpr (writes_memory(S)) {
    return core.memory.write<T>(linear_address(core, op), value);
  } else {
    set_register<T>(core, op.dst, value);
    return true;
  }
}

/// F::run<T, S> for a shape of two operands.
template <class F, class T> Handler pick_shape(Shape shape) {
  switch (shape) {
  case Shape::rr:
    return F::template run<T, Shape::rr>;
  case Shape::rm:
    return F::template run<T, Shape::rm>;
  case Shape::ri:
    return F::template run<T, Shape::ri>;
  case Shape::mr:
    return F::template run<T, Shape::mr>;
  case Shape::mi:
    return F::template run<T, Shape::mi>;
  default:
    return nullptr;
  }
}

template <class F> Handler pick_binary(unsigned size, Shape shape) {
  switch (size) {
  case 1:
    return pick_shape<F, std::uint8_t>(shape);
  case 2:
    return pick_shape<F, std::uint16_t>(shape);
  case 4:
    return pick_shape<F, std::uint32_t>(shape);
  case 8:
    return pick_shape<F, std::uint64_t>(shape);
  default:
    return nullptr;
  }
}

/// F::run<T> where the shape does not matter.
template <class F> Handler pick_size(unsigned size) {
  switch (size) {
  case 1:
    return F::template run<std::uint8_t>;
  case 2:
    return F::template run<std::uint16_t>;
  case 4:
    return F::template run<std::uint32_t>;
  case 8:
    return F::template run<std::uint64_t>;
  default:
    return nullptr;
  }
}

/// F::run<T, S> with S one of r and m.
template <class F> Handler pick_unary(unsigned size, Shape shape) {
  const auto pick = [shape]<class T>(T) -> Handler {
    if (shape == Shape::r) return F::template run<T, Shape::r>;
    if (shape == Shape::m) return F::template run<T, Shape::m>;
    return nullptr;
  };
  switch (size) {
  case 1:
    return pick(std::uint8_t{});
  case 2:
    return pick(std::uint16_t{});
  case 4:
    return pick(std::uint32_t{});
  case 8:
    return pick(std::uint64_t{});
  default:
    return nullptr;
  }
}

/// F::run<T, S> with T of 32 or 64 bits (BMI) and S one of rr and rm.
template <class F> Handler pick_wide(unsigned size, bool memory) {
  if (size == 4)
    return memory ? F::template run<std::uint32_t, Shape::rm>
                  : F::template run<std::uint32_t, Shape::rr>;
  return memory ? F::template run<std::uint64_t, Shape::rm>
                : F::template run<std::uint64_t, Shape::rr>;
}

} // namespace slat::vmm::softcpu
