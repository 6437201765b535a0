#include "vmm/layout.hpp"

#include "vmm/printable.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <utility>

namespace slat::vmm {
namespace {

struct Suffix {
  char letter;
  unsigned shift;
};

constexpr std::array<Suffix, 4> suffixes{{{'T', 40}, {'G', 30}, {'M', 20}, {'K', 10}}};

char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

} // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t value = 0;
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [rest, error] = std::from_chars(begin, end, value);
  const auto too_large = [&] {
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("size '{}' does not fit in 64 bits; give a smaller one", printable(text)));
  };
  if (error == std::errc::result_out_of_range) return too_large();
  unsigned shift = 0;
  bool good = error == std::errc() && end - rest <= 1;
  if (good && rest != end) {
    const auto* suffix = std::find_if(suffixes.begin(), suffixes.end(),
                                      [&](const Suffix& s) { return s.letter == upper(*rest); });
    good = suffix != suffixes.end();
    if (good) shift = suffix->shift;
  }
  if (!good) {
    return fail(Errc::invalid_argument, 0,
                fmt::format("size '{}' is not a number with an optional suffix K, M, G or T; "
                            "write it like 256M",
                            printable(text)));
  }
  if (value > UINT64_MAX >> shift) return too_large();
  return value << shift;
}

Result<void> check_ram_size(std::uint64_t size) {
  if (size % guest_page_size != 0) {
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("guest RAM of {} bytes is not a multiple of 4 KiB; the next one up is {}", size,
                    format_size((size / guest_page_size + 1) * guest_page_size)));
  }
  if (size < min_ram_size || size > max_ram_size) {
    return fail(Errc::invalid_argument, 0,
                fmt::format("guest RAM of {} is too {}; give a size from {} to {}",
                            format_size(size), size < min_ram_size ? "small" : "large",
                            format_size(min_ram_size), format_size(max_ram_size)));
  }
  return {};
}

Result<std::uint64_t> parse_ram_size(std::string_view text) {
  auto size = parse_size(text);
  if (!size) return size;
  auto checked = check_ram_size(*size);
  if (!checked) return forward(checked);
  return size;
}

std::string format_size(std::uint64_t size) {
  for (const auto& [letter, shift] : suffixes) {
    if (size != 0 && (size & ((std::uint64_t{1} << shift) - 1)) == 0)
      return fmt::format("{}{}", size >> shift, letter);
  }
  return fmt::format("{}", size);
}

std::vector<GpaRange> ram_layout(std::uint64_t size) {
  if (size <= device_hole_start) return {{0, size}};
  return {{0, device_hole_start}, {device_hole_end, size - device_hole_start}};
}

std::vector<E820Entry> e820_map(std::span<const GpaRange> ram) {
  std::vector<E820Entry> map;
  const auto add_usable = [&map](Gpa start, Gpa end) {
    if (start < end) map.push_back({start, end - start, E820Type::usable});
  };
  bool reserved_low = false;
  const auto reserve_low = [&] {
    if (!std::exchange(reserved_low, true))
      map.push_back({low_ram_end, high_ram_start - low_ram_end, E820Type::reserved});
  };
  for (const auto& [start, size] : ram) {
    const Gpa end = start + size;
    add_usable(start, std::min(end, low_ram_end));
    if (end > low_ram_end) reserve_low();
    add_usable(std::max(start, high_ram_start), end);
  }
  reserve_low();
  return map;
}

bool contains(std::span<const GpaRange> ram, Gpa start, std::uint64_t size) {
  Gpa position = start;
  std::uint64_t left = size;
  for (const auto& range : ram) {
    if (position < range.start || position - range.start > range.size) continue;
    const std::uint64_t here = range.size - (position - range.start);
    if (left <= here) return true;
    position += here;
    left -= here;
  }
  return false;
}

} // namespace slat::vmm
