// Words and numbers of a guest's command line. Pure and freestanding; nothing is copied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace slat::guest {

/// A piece of somebody else's text. Not zero-terminated.
struct Text {
  const char* data = "";
  std::size_t size = 0;

  constexpr Text() = default;

  constexpr Text(const char* start, std::size_t length) : data(start), size(length) {}

  constexpr Text(const char* terminated)
      : data(terminated) { // NOLINT: literals are meant to convert
    while (terminated[size] != '\0') ++size;
  }

  friend constexpr bool operator==(Text a, Text b) {
    if (a.size != b.size) return false;
    for (std::size_t i = 0; i < a.size; ++i) {
      if (a.data[i] != b.data[i]) return false;
    }
    return true;
  }
};

/// The word that was refused and why; `reason` is null when all is well.
struct OptionError {
  Text word;
  const char* reason = nullptr;
};

/// One `name=value` or bare `name`.
struct Word {
  Text whole;
  Text name;
  Text value;
  bool has_value = false; // `name=` has one, and it is empty
};

/// Takes the next word off the front of `rest`; false when there is none. Words are separated by
/// white space.
constexpr bool next_word(Text& rest, Word& word) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  std::size_t begin = 0;
  while (begin < rest.size && space(rest.data[begin])) ++begin;
  std::size_t end = begin, equals = 0;
  bool has_value = false;
  for (; end < rest.size && !space(rest.data[end]); ++end) {
    if (rest.data[end] == '=' && !has_value) has_value = true, equals = end;
  }
  const char* base = rest.data;
  rest = {base + end, rest.size - end};
  if (begin == end) return false;
  word.whole = {base + begin, end - begin};
  word.has_value = has_value;
  word.name = {base + begin, (has_value ? equals : end) - begin};
  word.value = has_value ? Text{base + equals + 1, end - equals - 1} : Text{};
  return true;
}

/// A decimal number, or hexadecimal after 0x, of at most `max`. False, and `out` untouched, for
/// anything else.
constexpr bool parse_number(Text text, std::uint64_t max, std::uint64_t& out) {
  const bool hex =
      text.size > 2 && text.data[0] == '0' && (text.data[1] == 'x' || text.data[1] == 'X');
  const std::uint64_t base = hex ? 16 : 10;
  std::uint64_t value = 0;
  if (text.size == 0) return false;
  for (std::size_t i = hex ? 2 : 0; i < text.size; ++i) {
    const char c = text.data[i];
    std::uint64_t digit = 16;
    if (c >= '0' && c <= '9') digit = static_cast<std::uint64_t>(c - '0');
    if (c >= 'a' && c <= 'f') digit = static_cast<std::uint64_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') digit = static_cast<std::uint64_t>(c - 'A' + 10);
    if (digit >= base || value > (max - digit) / base || digit > max) return false;
    value = value * base + digit;
  }
  out = value;
  return true;
}

} // namespace slat::guest
