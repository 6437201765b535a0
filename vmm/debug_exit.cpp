#include "vmm/debug_exit.hpp"

#include <algorithm>

namespace slat::vmm {

void DebugExit::write(std::uint16_t /*offset*/, unsigned unit, std::span<const std::byte> data) {
  std::uint32_t value = 0;
  const auto first = data.first(std::min<std::size_t>({data.size(), unit, sizeof value}));
  if (first.empty()) return;
  for (std::size_t i = 0; i < first.size(); ++i)
    value |= std::to_integer<std::uint32_t>(first[i]) << (8 * i);
  const auto code = static_cast<std::uint8_t>(std::min(value, 255U));
  int expected = none;
  if (code_.compare_exchange_strong(expected, code) && on_exit_) on_exit_(code);
}

void DebugExit::read(std::uint16_t /*offset*/, unsigned /*unit*/, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0xff});
}

std::optional<std::uint8_t> DebugExit::exit_code() const {
  const int code = code_.load();
  if (code == none) return std::nullopt;
  return static_cast<std::uint8_t>(code);
}

} // namespace slat::vmm
