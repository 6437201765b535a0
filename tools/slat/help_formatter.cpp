#include "slat/help_formatter.hpp"

#include <fmt/format.h>
#include <vector>

namespace slat::tool {

namespace {

/// CLI11 joins an option's type and the descriptions of its checks: "UINT:INT in [1 - 9]".
struct TypeName {
  std::string type;
  std::string values; // "1 to 9", "a, b, c"; may be empty
};

TypeName split_type(const std::string& text) {
  const std::size_t colon = text.find(':');
  TypeName name{text.substr(0, colon), {}};
  if (colon == std::string::npos) return name;
  std::string_view check = std::string_view(text).substr(colon + 1);
  if (check.size() > 2 && check.front() == '{' && check.back() == '}') {
    for (const char c : check.substr(1, check.size() - 2)) {
      name.values += c;
      if (c == ',') name.values += ' ';
    }
  } else if (const std::size_t bracket = check.find("in ["); bracket != check.npos) {
    name.values = check.substr(bracket + 4, check.size() - bracket - 5);
    if (const std::size_t dash = name.values.find(" - "); dash != std::string::npos)
      name.values.replace(dash, 3, " to ");
  }
  return name;
}

std::string two_columns(const std::string& left, std::string_view right) {
  constexpr std::size_t indent = HelpFormatter::left_column;
  std::string line = "  " + left;
  if (line.size() + 2 > indent) line += "\n"; // too long: the description goes below
  const std::size_t at = line.back() == '\n' ? 0 : line.size();
  return line + std::string(indent - at, ' ') +
         wrap(right, HelpFormatter::columns - indent, indent) + "\n";
}

} // namespace

std::string wrap(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t used = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    if (used != 0 && used + 1 + end > width) {
      out += "\n" + std::string(indent, ' ');
      used = 0;
    }
    if (used != 0) out += ' ', ++used;
    out += text.substr(0, end);
    used += end;
    if (end < text.size() && text[end] == '\n') {
      out += "\n" + std::string(indent, ' ');
      used = 0;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool positional) const {
  return two_columns(make_option_name(option, positional) + make_option_opts(option),
                     make_option_desc(option));
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0) return {};
  const std::string type = split_type(option->get_type_name()).type;
  return type.empty() ? std::string() : " " + (type == "UINT" || type == "INT" ? "N" : type);
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  std::vector<std::string> more;
  if (option->get_type_size() != 0) {
    if (std::string values = split_type(option->get_type_name()).values; !values.empty())
      more.push_back(std::move(values));
    if (option->get_required()) more.emplace_back("required");
    if (!option->get_default_str().empty()) more.push_back("default " + option->get_default_str());
  }
  for (const CLI::Option* other : option->get_excludes())
    more.push_back("not with " + other->get_name());
  return more.empty() ? option->get_description()
                      : fmt::format("{} [{}]", option->get_description(), fmt::join(more, "; "));
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  return two_columns(command->get_display_name(true), command->get_description());
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return wrap(app->get_description(), columns, 0) + "\n";
}

} // namespace slat::tool
