// Help that fits a terminal of 80 columns: names on the left, wrapped descriptions on the right, then what values an
// option takes and what it is without.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace slat::tool {

/// `text` broken at spaces into lines of at most `width` columns; those after the first start with `indent` spaces. Line
/// breaks in the text stay. A word that is longer than a line has one of its own.
[[nodiscard]] std::string wrap(std::string_view text, std::size_t width, std::size_t indent);

class HelpFormatter final : public CLI::Formatter {
 public:
  static constexpr std::size_t columns = 80;
  static constexpr std::size_t left_column = 26;

  [[nodiscard]] std::string make_option(const CLI::Option* option, bool positional) const override;
  [[nodiscard]] std::string make_option_opts(const CLI::Option* option) const override;
  [[nodiscard]] std::string make_option_desc(const CLI::Option* option) const override;
  [[nodiscard]] std::string make_subcommand(const CLI::App* command) const override;
  [[nodiscard]] std::string make_description(const CLI::App* app) const override;
};

} // namespace slat::tool
