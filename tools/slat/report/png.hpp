// A picture as a PNG, without a library: its data is stored, not compressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slat::reporting {

struct Pixel {
  std::uint8_t red = 0, green = 0, blue = 0, alpha = 0;

  bool operator==(const Pixel&) const = default;
};

struct Picture {
  Picture(std::size_t columns, std::size_t lines)
      : width(columns), height(lines), pixels(columns * lines) {}

  [[nodiscard]] Pixel& at(std::size_t x, std::size_t y) { return pixels[y * width + x]; }

  std::size_t width, height; // 1 up
  std::vector<Pixel> pixels; // from the top left, by lines
};

/// 8 bits a channel with alpha (PNG, RFC 2083).
[[nodiscard]] std::string png(const Picture& picture);

/// RFC 4648.
[[nodiscard]] std::string base64(std::string_view bytes);

} // namespace slat::reporting
