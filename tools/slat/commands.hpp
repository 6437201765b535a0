// The commands of slat. Each adds itself to the program, and `run` is set to what to do if it was asked for.
#pragma once

#include <functional>
#include <span>
#include <string_view>

namespace CLI {
class App;
} // namespace CLI

namespace slat::tool {

/// Returns the exit code.
using Command = std::function<int()>;

void add_boot(CLI::App& program, Command& run);
void add_stress(CLI::App& program, Command& run);
void add_ctl(CLI::App& program, Command& run);
void add_inval(CLI::App& program, Command& run);
void add_doctor(CLI::App& program, Command& run);
void add_dump(CLI::App& program, Command& run);
void add_bench(CLI::App& program, Command& run);
void add_completion(CLI::App& program, Command& run);
void add_report(CLI::App& program, Command& run);

struct CommandEntry {
  std::string_view name;
  void (*add)(CLI::App& program, Command& run);
  bool looks_at_all = false; // it is about the others, which have to be there
};

/// What this program has (programs.hpp), in the order of `slat --help`: commands_vmm.cpp or commands_full.cpp.
[[nodiscard]] std::span<const CommandEntry> commands();

/// Whether there is another program with more.
[[nodiscard]] bool has_all_commands();

} // namespace slat::tool
