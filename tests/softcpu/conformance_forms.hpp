// The forms of instructions that the conformance test runs, and how operands are made for each.
#pragma once

#include <Zydis/Zydis.h>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace slat::test {

enum class Operand : std::uint8_t { none, reg, mem, imm8, imm, cl, one, quad };

/// What has to be special about registers and memory.
enum class Setup : std::uint8_t {
  plain,
  aligned,
  divide,
  bit_offset,
  string,
  count16,
  flags_on_stack
};

struct Form {
  std::string name;
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID; // invalid: `bytes` is the code
  std::vector<Operand> operands{};
  unsigned size = 8;      // of reg, mem and imm, in bytes
  unsigned last_size = 0; // of the last operand, where it differs
  bool locked = false;
  Setup setup = Setup::plain;
  std::uint64_t undefined_flags = 0;
  bool shift = false;  // flags depend on the count
  bool rotate = false; // only OF does
  std::vector<std::uint8_t> bytes{};
};

/// All forms that this processor has.
[[nodiscard]] std::vector<Form> all_forms();

} // namespace slat::test
