// From instruction bytes to micro-ops.
#pragma once

#include "vmm/softcpu/micro_op.hpp"

#include <cstdint>
#include <span>

namespace slat::vmm::softcpu {

inline constexpr std::size_t longest_instruction = 15;

enum class Decoded : std::uint8_t {
  instruction, // `op` executes it (or stops the guest, if it is none that the software vCPU knows)
  truncated,   // more bytes are needed
};

/// One instruction of 64-bit code at `rip`. Bytes that are no instruction become one that raises `#UD`. Whether `op`
/// ends its block is in `ends_block`.
[[nodiscard]] Decoded decode(std::span<const std::uint8_t> bytes, std::uint64_t rip, MicroOp& op,
                             bool& ends_block);

/// The micro-op that ends a block without a branch: execution goes on at `rip`.
[[nodiscard]] MicroOp block_end(std::uint64_t rip);

} // namespace slat::vmm::softcpu
