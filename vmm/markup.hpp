// Text in HTML and XML.
#pragma once

#include <string>
#include <string_view>

namespace slat::vmm {

/// `text` with entities for all that is markup: fit for the text of elements, and for attributes in either quotes. Other
/// bytes stay, also those that XML does not allow: what takes their place is the caller's to say.
[[nodiscard]] inline std::string without_markup(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (const char c : text) {
    switch (c) {
    case '&':
      out += "&amp;";
      break;
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '"':
      out += "&quot;";
      break;
    case '\'':
      out += "&#39;";
      break;
    default:
      out += c;
    }
  }
  return out;
}

} // namespace slat::vmm
