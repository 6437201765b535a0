// Completion for bash: two tables of words, and a function that finds its way in them. Needs bash 4.3, and nothing of the
// package bash-completion but the directory that it loads scripts from.
#include "slat/completion.hpp"

#include <fmt/format.h>

namespace slat::tool {

namespace {

constexpr const char* bash_driver = R"(
_slat() {
  local commands options valued values list file prefix
  local at=slat option= word i
  local -a words=()
  # bash makes three words of --accel=kvm, and of path=FILE.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((i > 1)) && [[ $word == = || ${COMP_WORDS[i - 1]} == = ]]; then
      words[${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
  done
  # The command, and the option whose value is to be completed.
  for word in "${words[@]:1:${#words[@]}-2}"; do
    if [[ $option ]]; then
      option=
      continue
    fi
    _slat_words "$at"
    if [[ " $valued " == *" $word "* ]]; then
      option=$word
    elif [[ " $commands " == *" $word "* ]]; then
      at+=" $word"
    fi
  done
  _slat_words "$at"

  local full=${words[${#words[@]} - 1]} typed=${COMP_WORDS[COMP_CWORD]} value
  [[ $typed == = ]] && typed=
  local lead=${full%"$typed"} # bash keeps this, and replaces what was typed
  value=$full
  if [[ ! $option && $full == --*=* ]]; then
    option=${full%%=*} value=${full#*=}
  fi
  _slat_values "$at" "$option"
  if [[ ! $option ]]; then
    values="$commands $values"
    [[ $value == -* || ! ${values// /} ]] && values+=" $options"
  fi
  local stem=${full%"$value"}
  if [[ $list && $value == *,* ]]; then
    stem+=${value%,*}, value=${value##*,}
  fi
  [[ $list ]] && compopt -o nospace 2>/dev/null
  if [[ $file && $value == "$prefix"* ]]; then
    stem+=$prefix value=${value#"$prefix"}
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$value")
  else
    if [[ $file ]]; then
      values=$prefix
      compopt -o nospace 2>/dev/null
    fi
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$value")
  fi
  COMPREPLY=("${COMPREPLY[@]/#/"$stem"}")
  COMPREPLY=("${COMPREPLY[@]#"$lead"}")
}
complete -F _slat slat
)";

std::string names_of(const CompletedOption& option) {
  std::string names;
  for (const std::string& name : option.long_names) names += " --" + name;
  for (const std::string& name : option.short_names) names += " -" + name;
  return names;
}

/// The line of _slat_values() for what stands behind `pattern`; empty if nothing is known.
std::string value_line(const std::string& pattern, const CompletedOption& option) {
  if (option.values.empty() && !option.file) return {};
  std::string line = fmt::format("  {})", pattern);
  if (!option.values.empty()) line += fmt::format(" values='{}'", fmt::join(option.values, " "));
  if (option.list) line += " list=yes";
  if (option.file) line += " file=yes";
  if (!option.file_prefix.empty()) line += fmt::format(" prefix='{}'", option.file_prefix);
  return line + " ;;\n";
}

} // namespace

std::string bash_completion(const std::vector<CompletedCommand>& commands) {
  std::string words, values;
  for (const CompletedCommand& command : commands) {
    const std::string path = joined_path(command);
    std::string below, options, valued;
    for (const CompletedCommand* other : commands_below(commands, command))
      below += " " + other->path.back();
    for (const CompletedOption& option : command.options) {
      const std::string names = names_of(option);
      options += names;
      if (option.placeholder.empty()) continue;
      valued += names;
      for (const std::string& name : option.long_names)
        values += value_line(fmt::format("'{} --{}'", path, name), option);
    }
    words += fmt::format("  '{}') commands='{}' options='{}' valued='{}' ;;\n", path, below,
                         options, valued);
    // One positional takes the place of all: slat has no command with two.
    if (!command.positionals.empty())
      values += value_line(fmt::format("'{} '", path), command.positionals.front());
  }
  return "# Completion of slat for bash, made by `slat completion bash`.\n"
         "_slat_words() { # COMMAND\n  commands= options= valued=\n  case $1 in\n" +
         words +
         "  esac\n}\n\n"
         "_slat_values() { # COMMAND OPTION; no option: what else stands there\n"
         "  values= list= file= prefix=\n  case \"$1 $2\" in\n" +
         values + "  esac\n}\n" + bash_driver;
}

} // namespace slat::tool
