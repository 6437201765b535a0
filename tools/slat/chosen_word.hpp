// How sysfs writes a choice: "always [advise] never".
#pragma once

#include <string>

namespace slat::tool {

/// The word in brackets; empty if there is none.
[[nodiscard]] inline std::string chosen_word(const std::string& text) {
  const std::size_t open = text.find('[');
  const std::size_t close = text.find(']', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || close == std::string::npos) return {};
  return text.substr(open + 1, close - open - 1);
}

} // namespace slat::tool
