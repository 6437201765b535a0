// slat completion: scripts for shells, made from the options that this very program takes.
#include "slat/completion.hpp"

#include "slat/commands.hpp"
#include "slat/run.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <string_view>

namespace slat::tool {

namespace {

/// CLI11 has an option's type and the descriptions of its checks in one text: "TEXT:{on,off}", "FILE".
CompletedOption described(const CLI::Option& option) {
  CompletedOption out;
  out.long_names = option.get_lnames();
  out.short_names = option.get_snames();
  out.description = option.get_description();
  if (option.get_items_expected_max() == 0) return out; // a flag
  const std::string text = option.get_type_name();
  const std::size_t colon = text.find(':');
  std::string type = text.substr(0, colon);
  if (colon != std::string::npos && text[colon + 1] == '{' && text.back() == '}')
    out.values = CLI::detail::split(text.substr(colon + 2, text.size() - colon - 3), ',');
  if (const std::size_t at = type.find("=FILE"); at != std::string::npos) {
    out.file = true;
    out.file_prefix = type.substr(0, at + 1);
  } else {
    out.file = type.starts_with("FILE") || type.starts_with("PATH");
  }
  out.list = option.get_delimiter() == ',' || type == "KINDS" || option.get_name() == "KINDS";
  out.repeats = option.get_items_expected_max() > 1;
  out.placeholder = type.empty() ? option.get_name() : type;
  return out;
}

void add_options(const CLI::App& app, CompletedCommand& command) {
  for (const CLI::Option* option : app.get_options())
    (option->get_positional() ? command.positionals : command.options)
        .push_back(described(*option));
}

void add_command(const CLI::App& app, std::vector<std::string> path,
                 std::vector<CompletedCommand>& out) {
  path.push_back(app.get_name());
  CompletedCommand command{path, app.get_description(), {}, {}};
  add_options(app, command);
  if (const CLI::App* above = app.get_parent(); above != nullptr && app.get_fallthrough()) {
    CompletedCommand inherited;
    add_options(*above, inherited);
    for (CompletedOption& option : inherited.options)
      if (option.long_names != std::vector<std::string>{"help"})
        command.options.push_back(std::move(option));
  }
  out.push_back(std::move(command));
  for (const CLI::App* below : app.get_subcommands([](const CLI::App*) { return true; }))
    add_command(*below, path, out);
}

} // namespace

std::vector<CompletedCommand> completed_commands(const CLI::App& program) {
  std::vector<CompletedCommand> out;
  add_command(program, {}, out);
  return out;
}

std::string joined_path(const CompletedCommand& command) {
  return fmt::format("{}", fmt::join(command.path, " "));
}

std::vector<const CompletedCommand*> commands_below(const std::vector<CompletedCommand>& all,
                                                    const CompletedCommand& command) {
  std::vector<const CompletedCommand*> below;
  for (const CompletedCommand& other : all)
    if (other.path.size() == command.path.size() + 1 &&
        std::equal(command.path.begin(), command.path.end(), other.path.begin()))
      below.push_back(&other);
  return below;
}

void add_completion(CLI::App& program, Command& run) {
  auto shell = std::make_shared<std::string>();
  CLI::App* const command = program.add_subcommand(
      "completion", "Print a script that completes commands, options and values for a shell");
  command->add_option("SHELL", *shell, "Whose: source <(slat completion bash)")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([shell, &program, &run] {
    // Now: the tree is gone when commands run.
    const std::vector<CompletedCommand> commands = completed_commands(program);
    run = [text = *shell == "bash"  ? bash_completion(commands)
                  : *shell == "zsh" ? zsh_completion(commands)
                                    : fish_completion(commands)] {
      write_stdout(text);
      return 0;
    };
  });
}

} // namespace slat::tool
