// slat: boots guests, stresses their memory, and tells what this host can do. The main() of both programs.
#include "slat/commands.hpp"
#include "slat/exit_codes.hpp"
#include "slat/help_formatter.hpp"
#include "slat/programs.hpp"
#include "slat/run.hpp"
#include "vmm/printable.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <string_view>
#include <variant>

namespace {

/// One line about what is wrong with the command line. CLI11 names neither a command that it does not know nor those
/// that there are.
std::string complaint(const CLI::App& program, const CLI::ParseError& error) {
  const CLI::App* at = &program;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  std::vector<std::string> names;
  for (const CLI::App* command : at->get_subcommands({})) names.push_back(command->get_name());
  if (names.empty()) return slat::vmm::printable(error.what());
  const std::string whose = at == &program ? "" : at->get_name() + ": ";
  const std::vector<std::string> rest = program.remaining(true);
  if (rest.empty())
    return fmt::format("{}no command; give one of {}", whose, fmt::join(names, ", "));
  return fmt::format("{}unknown {} '{}'; the commands are {}", whose,
                     rest.front().substr(0, 1) == "-" ? "option" : "command",
                     slat::vmm::printable(rest.front()), fmt::join(names, ", "));
}

const slat::tool::CommandEntry* find_command(std::string_view name) {
  const auto all = slat::tool::commands();
  const auto found = std::ranges::find(all, name, &slat::tool::CommandEntry::name);
  return found != all.end() ? &*found : nullptr;
}

/// What to do, or the exit code if there is nothing more to do. The parser and its tables are gone by the time it runs.
std::variant<slat::tool::Command, int> parse(int argc, char** argv,
                                             const slat::tool::CommandEntry* named) {
  using namespace slat::tool;
  CLI::App program("slat: a small VMM on a hypervisor-style guest memory manager", "slat");
  program.set_version_flag("--version", "slat " SLAT_VERSION);
  program.require_subcommand(1);
  program.formatter(std::make_shared<HelpFormatter>()); // inherited by the commands
  program.footer(exit_code_help);
  Command run;
  // The named command alone: a parser of every option of slat is most of a megabyte, which a guest's VMM would keep.
  if (named != nullptr && !named->looks_at_all)
    named->add(program, run);
  else
    for (const CommandEntry& command : commands()) command.add(program, run);
  try {
    program.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return program.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return program.exit(version);
  } catch (const CLI::ParseError& error) { // CLI11's only way to say no
    std::string command = "slat";
    for (const CLI::App* at = &program; !at->get_subcommands().empty();) {
      at = at->get_subcommands().front();
      command += " " + at->get_name();
    }
    fmt::print(stderr, "slat: {} (see `{} --help`)\n", complaint(program, error), command);
    return exit_usage;
  }
  return run;
}

} // namespace

int main(int argc, char** argv) {
  using namespace slat::tool;
  open_standard_streams();
  block_signals();
  const CommandEntry* const named = argc > 1 ? find_command(argv[1]) : nullptr;
  const bool here =
      named != nullptr || has_all_commands() ||
      (argc == 2 && std::string_view(argv[1]) == "--version"); // what bench boot compares with
  if (!here) return become_full_program(argv);
  const auto parsed = parse(argc, argv, named);
  if (const int* const code = std::get_if<int>(&parsed)) return *code;
  return finish_stdout(std::get<Command>(parsed)());
}
