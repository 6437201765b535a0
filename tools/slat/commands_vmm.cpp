// The commands of `slat` itself: the VMM, and nothing else (programs.hpp).
#include "slat/commands.hpp"

namespace slat::tool {

std::span<const CommandEntry> commands() {
  static constexpr CommandEntry entries[] = {{"boot", add_boot}, {"stress", add_stress}};
  return entries;
}

bool has_all_commands() {
  return false;
}

} // namespace slat::tool
