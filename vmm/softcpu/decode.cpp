#include "vmm/softcpu/decode.hpp"

#include "vmm/softcpu/instruction.hpp"

#include <fmt/format.h>

namespace slat::vmm::softcpu {
namespace {

const ZydisDecoder& decoder() {
  static const ZydisDecoder instance = [] {
    ZydisDecoder made;
    ZydisDecoderInit(&made, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return made;
  }();
  return instance;
}

Flow undefined(Core& core, const MicroOp&) {
  return raise(core, vector_undefined);
}

/// A valid instruction without a handler. `immediate` is its mnemonic.
Flow unknown(Core& core, const MicroOp& op) {
  const char* name = ZydisMnemonicGetString(static_cast<ZydisMnemonic>(op.immediate));
  return unsupported(core, fmt::format("instruction '{}'", name == nullptr ? "?" : name));
}

Flow go_on(Core& core, const MicroOp& op) {
  core.state.rip = op.next_rip;
  return Flow::jump;
}

OperandKind kind_of(const ZydisDecodedOperand& operand) {
  switch (operand.type) {
  case ZYDIS_OPERAND_TYPE_REGISTER:
    return OperandKind::reg;
  case ZYDIS_OPERAND_TYPE_MEMORY:
    return OperandKind::mem;
  case ZYDIS_OPERAND_TYPE_IMMEDIATE:
    return OperandKind::imm;
  default:
    return OperandKind::other;
  }
}

Shape shape_of(OperandKind first, OperandKind second) {
  using enum OperandKind;
  if (first == reg) {
    if (second == none) return Shape::r;
    return second == reg ? Shape::rr : second == mem ? Shape::rm : Shape::ri;
  }
  if (first == mem) {
    if (second == none) return Shape::m;
    return second == reg ? Shape::mr : second == imm ? Shape::mi : Shape::none;
  }
  return first == imm ? Shape::i : Shape::none;
}

/// Bytes into CpuState::gpr of a general register; the number of any other.
std::uint8_t register_position(ZydisRegister reg) {
  const auto number = static_cast<std::uint8_t>(ZydisRegisterGetId(reg));
  switch (ZydisRegisterGetClass(reg)) {
  case ZYDIS_REGCLASS_GPR8: // al cl dl bl, ah ch dh bh, spl bpl sil dil, r8b ...
    if (number < 4) return static_cast<std::uint8_t>(number * 8);
    if (number < 8) return static_cast<std::uint8_t>((number - 4) * 8 + 1);
    return static_cast<std::uint8_t>((number - 4) * 8);
  case ZYDIS_REGCLASS_GPR16:
  case ZYDIS_REGCLASS_GPR32:
  case ZYDIS_REGCLASS_GPR64:
    return static_cast<std::uint8_t>(number * 8);
  default:
    return number;
  }
}

std::uint8_t slot_of(ZydisRegister reg) {
  if (reg == ZYDIS_REGISTER_NONE || reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
    return zero_slot;
  return static_cast<std::uint8_t>(ZydisRegisterGetId(reg));
}

void set_memory(const ZydisDecodedOperandMem& memory, MicroOp& op) {
  op.base = slot_of(memory.base);
  op.index = slot_of(memory.index);
  op.scale = memory.scale == 8 ? 3 : memory.scale == 4 ? 2 : memory.scale == 2 ? 1 : 0;
  op.displacement = static_cast<std::uint64_t>(memory.disp.value);
  if (memory.base == ZYDIS_REGISTER_RIP || memory.base == ZYDIS_REGISTER_EIP)
    op.displacement += op.next_rip;
  if (memory.segment == ZYDIS_REGISTER_FS) op.segment = fs;
  if (memory.segment == ZYDIS_REGISTER_GS) op.segment = gs;
}

void set_operands(Instruction& in, MicroOp& op) {
  std::array<OperandKind, 3> kinds{};
  const std::array<std::uint8_t MicroOp::*, 3> registers = {&MicroOp::dst, &MicroOp::src,
                                                            &MicroOp::third};
  for (std::size_t i = 0; i < in.info.operand_count_visible && i < kinds.size(); ++i) {
    const ZydisDecodedOperand& operand = in.operands[i];
    kinds[i] = kind_of(operand);
    if (kinds[i] == OperandKind::reg) {
      op.*registers[i] = register_position(operand.reg.value);
    } else if (kinds[i] == OperandKind::imm) {
      op.immediate = operand.imm.value.u;
      if (operand.imm.is_relative) op.immediate += op.next_rip;
    }
  }
  // Of two memory operands (string operations) the source is the one whose segment counts.
  for (std::size_t i = 0; i < in.info.operand_count; ++i) {
    const ZydisDecodedOperand& operand = in.operands[i];
    const bool counts = i < in.info.operand_count_visible ||
                        in.info.meta.category == ZYDIS_CATEGORY_STRINGOP ||
                        in.info.mnemonic == ZYDIS_MNEMONIC_XLAT;
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && counts) set_memory(operand.mem, op);
  }
  in.shape = shape_of(kinds[0], kinds[1]);
  in.third = kinds[2];
}

Handler select(const Instruction& in, MicroOp& op) {
  using Select = Handler (*)(const Instruction&, MicroOp&);
  static constexpr Select families[] = {
      select_move, select_arithmetic, select_branch, select_shift,    select_multiply,
      select_bit,  select_bmi,        select_string, select_exchange, select_flag,
      select_io,   select_segment,    select_system};
  for (const Select family : families)
    if (Handler handler = family(in, op)) return handler;
  return nullptr;
}

/// What follows is not reached, or may have to be fetched anew.
bool ends_block_after(const Instruction& in) {
  switch (in.info.meta.category) {
  case ZYDIS_CATEGORY_UNCOND_BR:
  case ZYDIS_CATEGORY_COND_BR:
  case ZYDIS_CATEGORY_CALL:
  case ZYDIS_CATEGORY_RET:
  case ZYDIS_CATEGORY_SYSTEM:
  case ZYDIS_CATEGORY_SYSCALL:
  case ZYDIS_CATEGORY_SYSRET:
  case ZYDIS_CATEGORY_INTERRUPT:
    return true;
  default:
    return in.info.mnemonic == ZYDIS_MNEMONIC_POPFQ || in.info.mnemonic == ZYDIS_MNEMONIC_POPF ||
           in.info.mnemonic == ZYDIS_MNEMONIC_STI ||
           in.info.mnemonic ==
               ZYDIS_MNEMONIC_CPUID; // it serialises: code written before is seen after it
  }
}

} // namespace

Decoded decode(std::span<const std::uint8_t> bytes, std::uint64_t rip, MicroOp& op,
               bool& ends_block) {
  op = {};
  Instruction in{};
  const ZyanStatus status =
      ZydisDecoderDecodeFull(&decoder(), bytes.data(), bytes.size(), &in.info, in.operands.data());
  if (status == ZYDIS_STATUS_NO_MORE_DATA && bytes.size() < longest_instruction)
    return Decoded::truncated;
  if (!ZYAN_SUCCESS(status)) {
    op.run = undefined;
    op.next_rip = rip;
    ends_block = true;
    return Decoded::instruction;
  }
  op.length = in.info.length;
  op.next_rip = rip + in.info.length;
  op.size = static_cast<std::uint8_t>(in.info.operand_width / 8);
  op.address32 = in.info.address_width == 32;
  op.repeat = in.has(ZYDIS_ATTRIB_HAS_REP) || in.has(ZYDIS_ATTRIB_HAS_REPE);
  op.repeat_not = in.has(ZYDIS_ATTRIB_HAS_REPNE);
  op.base = op.index = zero_slot;
  set_operands(in, op);
  op.run = select(in, op);
  ends_block = ends_block_after(in);
  if (op.run == nullptr) {
    op.run = in.info.mnemonic == ZYDIS_MNEMONIC_UD0 || in.info.mnemonic == ZYDIS_MNEMONIC_UD1 ||
                     in.info.mnemonic == ZYDIS_MNEMONIC_UD2
                 ? undefined
                 : unknown;
    op.immediate = in.info.mnemonic;
    ends_block = true;
  }
  return Decoded::instruction;
}

MicroOp block_end(std::uint64_t rip) {
  MicroOp op;
  op.run = go_on;
  op.next_rip = rip;
  return op;
}

} // namespace slat::vmm::softcpu
