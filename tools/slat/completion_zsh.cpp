// Completion for zsh: a function for each command, which hands its options to _arguments.
#include "slat/completion.hpp"

#include <fmt/format.h>
#include <string_view>

namespace slat::tool {

namespace {

/// Inside single quotes, with a backslash before each of `special`.
std::string escaped(std::string_view text, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (special.find(c) != special.npos) out += '\\';
    out += c;
  }
  return out;
}

std::string function_of(const CompletedCommand& command) {
  return fmt::format("_{}", fmt::join(command.path, "_"));
}

/// What _arguments does with a value.
std::string action_of(const CompletedOption& option) {
  const std::string values = fmt::format("{}", fmt::join(option.values, " "));
  if (!option.file_prefix.empty())
    return fmt::format("{{compset -P {0} && _files || compadd -S \"\" -- {0}}}",
                       option.file_prefix);
  if (option.file) return "_files";
  if (option.values.empty()) return {}; // only the message
  return option.list ? fmt::format("_values -s , {} {}", option.placeholder, values)
                     : fmt::format("({})", values);
}

std::string specification(const CompletedOption& option) {
  const std::string text = "[" + escaped(option.description, "[]:\\") + "]";
  const std::string value = option.placeholder.empty()
                                ? std::string()
                                : fmt::format(":{}:{}", escaped(option.placeholder, ":\\"),
                                              escaped(action_of(option), ""));
  std::string out;
  std::string all;
  for (const std::string& name : option.short_names) all += " -" + name;
  for (const std::string& name : option.long_names) all += " --" + name;
  const std::string before =
      option.repeats ? "*" : fmt::format("({})", all.substr(all.empty() ? 0 : 1));
  for (const std::string& name : option.short_names)
    out += fmt::format("    '{}-{}{}{}' \\\n", before, name, text, value);
  for (const std::string& name : option.long_names)
    out +=
        fmt::format("    '{}--{}{}{}{}' \\\n", before, name, value.empty() ? "" : "=", text, value);
  return out;
}

std::string body_of(const std::vector<CompletedCommand>& all, const CompletedCommand& command) {
  std::string out = fmt::format("{}() {{\n", function_of(command));
  std::string options;
  for (const CompletedOption& option : command.options) options += specification(option);
  const auto below = commands_below(all, command);
  if (below.empty()) {
    for (const CompletedOption& option : command.positionals)
      options += fmt::format("    '{}:{}:{}' \\\n", option.repeats ? "*" : "1",
                             escaped(option.placeholder, ":\\"), escaped(action_of(option), ""));
    return out + "  _arguments -S : \\\n" + options.substr(0, options.size() - 3) + "\n}\n\n";
  }
  std::string list, cases;
  for (const CompletedCommand* other : below) {
    list += fmt::format("    '{}:{}'\n", other->path.back(), escaped(other->description, ":\\"));
    cases += fmt::format("    {}) {} ;;\n", other->path.back(), function_of(*other));
  }
  return out + "  local curcontext=$curcontext state line\n  local -a commands\n  commands=(\n" +
         list + "  )\n  _arguments -C -S : \\\n" + options +
         "    '1: :->command' \\\n    '*:: :->rest' && return\n"
         "  case $state in\n  command) _describe -t commands command commands ;;\n"
         "  rest)\n    case $words[1] in\n" +
         cases + "    esac\n    ;;\n  esac\n}\n\n";
}

} // namespace

std::string zsh_completion(const std::vector<CompletedCommand>& commands) {
  std::string out =
      "#compdef slat\n# Completion of slat for zsh, made by `slat completion zsh`.\n\n";
  for (const CompletedCommand& command : commands) out += body_of(commands, command);
  // Loaded from fpath it is called; sourced, it only says what it completes.
  return out +
         "if [[ $funcstack[1] == _slat ]]; then\n  _slat \"$@\"\nelse\n  compdef _slat slat\nfi\n";
}

} // namespace slat::tool
