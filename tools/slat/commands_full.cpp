// The commands of `slat-full`: all of them, for --help and completion have to know them all (programs.hpp).
#include "slat/commands.hpp"

namespace slat::tool {

std::span<const CommandEntry> commands() {
  static constexpr CommandEntry entries[] = {
      {"boot", add_boot},   {"stress", add_stress}, {"ctl", add_ctl},
      {"inval", add_inval}, {"doctor", add_doctor}, {"dump", add_dump},
      {"bench", add_bench}, {"report", add_report}, {"completion", add_completion, true}};
  return entries;
}

bool has_all_commands() {
  return true;
}

} // namespace slat::tool
