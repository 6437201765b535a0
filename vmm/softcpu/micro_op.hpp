// MicroOp: one decoded instruction: the function that executes it and its operands, looked up beforehand.
#pragma once

#include "vmm/softcpu/fault.hpp"

#include <cstdint>

namespace slat::vmm::softcpu {

struct Core;
struct MicroOp;

/// Executes one instruction. Flow::next leaves rip alone: the block knows where it goes on.
using Handler = Flow (*)(Core& core, const MicroOp& op);

struct MicroOp {
  Handler run = nullptr;
  std::uint64_t next_rip = 0;     // of the instruction behind it
  std::uint64_t immediate = 0;    // sign-extended; a branch: where it goes
  std::uint64_t displacement = 0; // of the memory operand; RIP-relative ones have the whole address
  std::uint8_t dst = 0, src = 0, third = 0; // registers, as bytes into CpuState::gpr (ah is 1)
  std::uint8_t base = 0, index = 0;         // slots of CpuState::gpr
  std::uint8_t scale = 0;                   // shift of the index
  std::uint8_t segment = 0;                 // 0: no base; else fs or gs
  std::uint8_t size = 0;                    // operand size in bytes
  std::uint8_t length = 0;                  // of the instruction in bytes
  std::uint8_t code = 0;   // condition, segment register, control register, count of a repeat ...
  bool address32 = false;  // address-size prefix
  bool repeat = false;     // rep, repe
  bool repeat_not = false; // repne

  [[nodiscard]] std::uint64_t rip() const { return next_rip - length; }
};

} // namespace slat::vmm::softcpu
