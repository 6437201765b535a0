// Completion for fish: a line for each command, option and value, on the condition that its command is being completed.
#include "slat/completion.hpp"

#include <fmt/format.h>
#include <string_view>

namespace slat::tool {

namespace {

constexpr const char* fish_helpers = R"(
# What was typed of the value: without --storm=.
function __slat_typed
    string replace -r -- '^--[^=]*=' '' (commandline -ct)
end

# VALUE...: values with commas.
function __slat_list
    printf '%s\n' (string replace -r -- '[^,]*$' '' (__slat_typed))$argv
end

# PREFIX: a path behind it.
function __slat_file
    set -l typed (__slat_typed)
    if string match -q -- "$argv*" $typed
        set -l rest (string sub -s (math (string length -- $argv) + 1) -- $typed)
        printf "$argv%s\n" (complete -C "'' $rest" | string split -f 1 \t)
    else
        printf '%s\n' $argv
    end
end

complete -c slat -f
)";

std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string value_of(const CompletedOption& option) {
  const std::string values = fmt::format("{}", fmt::join(option.values, " "));
  if (!option.file_prefix.empty())
    return " -x -a " + in_quotes("(__slat_file " + option.file_prefix + ")");
  if (option.file) return " -r -F";
  if (option.values.empty()) return " -x";
  return " -x -a " + in_quotes(option.list ? "(__slat_list " + values + ")" : values);
}

} // namespace

std::string fish_completion(const std::vector<CompletedCommand>& commands) {
  std::string below, valued, lines;
  for (const CompletedCommand& command : commands) {
    const std::string path = joined_path(command);
    const std::string at = fmt::format("complete -c slat -n '__slat_at {}'", path);
    if (command.path.size() > 1) below += fmt::format(" '{}'", path);
    for (const CompletedCommand* other : commands_below(commands, command))
      lines +=
          fmt::format("{} -a {} -d {}\n", at, other->path.back(), in_quotes(other->description));
    for (const CompletedOption& option : command.options) {
      std::string names;
      for (const std::string& name : option.short_names) names += " -s " + name;
      for (const std::string& name : option.long_names) {
        names += " -l " + name;
        if (!option.placeholder.empty()) valued += fmt::format(" '{} --{}'", path, name);
      }
      lines += at + names + (option.placeholder.empty() ? "" : value_of(option)) + " -d " +
               in_quotes(option.description) + "\n";
    }
    for (const CompletedOption& option : command.positionals)
      if (option.file || !option.values.empty()) lines += at + value_of(option) + "\n";
  }
  return "# Completion of slat for fish, made by `slat completion fish`.\n\n"
         "# COMMAND...: true if that is the command on the line.\n"
         "function __slat_at\n    set -l at slat\n    set -l skip no\n"
         "    for word in (commandline -opc)[2..]\n"
         "        if test $skip = yes\n            set skip no\n            continue\n        end\n"
         "        switch \"$at $word\"\n            case" +
         below + "\n                set at \"$at $word\"\n            case" + valued +
         "\n                set skip yes\n        end\n    end\n"
         "    test \"$at\" = \"$argv\"\nend\n" +
         fish_helpers + lines;
}

} // namespace slat::tool
