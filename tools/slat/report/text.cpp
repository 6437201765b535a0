#include "slat/report/text.hpp"

#include "vmm/markup.hpp"

#include <array>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

/// At most three digits that say something, and no zeros that do not.
std::string three_digits(double value) {
  const double size = std::abs(value);
  std::string text = fmt::format("{:.{}f}", value, size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

} // namespace

std::string escaped(std::string_view text) {
  std::string out(text); // UTF-8, as the JSON that it is from
  for (char& c : out)
    if ((static_cast<unsigned char>(c) < ' ' && c != '\n') || c == '\x7f') c = ' ';
  return vmm::without_markup(out);
}

std::string script_safe(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return "-";
  constexpr std::array prefixes{"", "k", "M", "G", "T", "P", "E"};
  std::size_t prefix = 0;
  while (std::abs(value) >= 999.5 && prefix + 1 < prefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  if (value != 0 && prefix == 0 && std::abs(value) < 0.005) return fmt::format("{:.1e}", value);
  return three_digits(value) + prefixes[prefix];
}

std::string grouped(std::uint64_t value) {
  std::string text = std::to_string(value);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, "\u202f");
  return text;
}

std::string grouped_number(double value) {
  return grouped(value >= 1.8e19 ? std::uint64_t(18'000'000'000'000'000'000u)
                 : value > 0     ? std::uint64_t(value)
                                 : 0);
}

std::string short_time(double ns) {
  if (!std::isfinite(ns)) return "-";
  if (ns < 999.5) return three_digits(ns) + " ns";
  if (ns < 999.5e3) return three_digits(ns / 1e3) + " µs";
  if (ns < 999.5e6) return three_digits(ns / 1e6) + " ms";
  return three_digits(ns / 1e9) + " s";
}

std::string short_bytes(double bytes) {
  if (!std::isfinite(bytes)) return "-";
  if (bytes == 0) return "0";
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  while (std::abs(bytes) >= 1023.5 && unit + 1 < units.size()) {
    bytes /= 1024;
    ++unit;
  }
  return three_digits(bytes) + " " + units[unit];
}

} // namespace slat::reporting
