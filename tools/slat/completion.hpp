// What shells are told about slat's command line: the commands, options and values of the CLI11 tree, as data, and as a
// script for each shell.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

namespace slat::tool {

/// An option or a positional.
struct CompletedOption {
  std::vector<std::string> long_names;  // without dashes; none for a positional
  std::vector<std::string> short_names; // one letter each
  std::string placeholder;              // FILE, N; empty: it takes no value
  std::string description;
  std::vector<std::string> values; // known in advance; may be empty
  bool list = false;               // several values with commas
  bool file = false;               // the value is a path ...
  std::string file_prefix;         // ... behind this, such as "path="
  bool repeats = false;
};

/// One command, and what may stand behind it.
struct CompletedCommand {
  std::vector<std::string> path; // slat, bench, mmu
  std::string description;
  std::vector<CompletedOption>
      options; // of commands above too, where they are taken here (fallthrough)
  std::vector<CompletedOption> positionals;
};

/// The program first, every other command after the one that it belongs to.
[[nodiscard]] std::vector<CompletedCommand> completed_commands(const CLI::App& program);

/// "slat bench mmu".
[[nodiscard]] std::string joined_path(const CompletedCommand& command);

/// The commands right below one.
[[nodiscard]] std::vector<const CompletedCommand*>
commands_below(const std::vector<CompletedCommand>& all, const CompletedCommand& command);

[[nodiscard]] std::string bash_completion(const std::vector<CompletedCommand>& commands);
[[nodiscard]] std::string zsh_completion(const std::vector<CompletedCommand>& commands);
[[nodiscard]] std::string fish_completion(const std::vector<CompletedCommand>& commands);

} // namespace slat::tool
