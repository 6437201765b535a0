// What JSON from outside must be like before a library takes it apart.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace slat::tool {

/// More than any document of slat's has. What is deeper would be taken down, or copied, by recursion; each new member of
/// an ordered object is compared with all that the object has.
inline constexpr unsigned most_json_levels = 16;
inline constexpr unsigned most_json_members = 1000;

/// What is wrong with the structure, by its brackets and colons alone, in a few words; empty if nothing is. The text may
/// be no JSON at all.
[[nodiscard]] inline std::string_view structure_error(std::string_view text) {
  std::array<unsigned, most_json_levels + 1> members{};
  unsigned level = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++level > most_json_levels) return "it is nested too deeply to be one of slat's";
      members[level] = 0;
    } else if ((c == '}' || c == ']') && level != 0) {
      --level;
    } else if (c == ':' && ++members[level] > most_json_members) {
      return "it has an object with too many members to be one of slat's";
    }
  }
  return {};
}

} // namespace slat::tool
