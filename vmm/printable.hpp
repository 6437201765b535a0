// Text from outside (file names, option values) made fit for a one-line message.
#pragma once

#include <string>
#include <string_view>

namespace slat::vmm {

/// `text` with every byte that is not printable ASCII or part of UTF-8 replaced by '?', cut to 200
/// bytes. Never sleeps, never fails.
[[nodiscard]] inline std::string printable(std::string_view text) {
  constexpr std::size_t max_size = 200;
  std::string out(text.substr(0, max_size));
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  if (text.size() > max_size) out += "...";
  return out;
}

} // namespace slat::vmm
