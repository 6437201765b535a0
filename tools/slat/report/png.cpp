#include "slat/report/png.hpp"

#include <algorithm>
#include <array>

namespace slat::reporting {

namespace {

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
    table[i] = crc;
  }
  return table;
}();

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc_table[(crc ^ std::uint8_t(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::uint32_t adler32(std::string_view bytes) {
  std::uint32_t a = 1, b = 0;
  for (const char c : bytes) {
    a = (a + std::uint8_t(c)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

void put32(std::string& out, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) out += char(std::uint8_t(value >> shift));
}

void put_chunk(std::string& out, std::string_view type, std::string_view data) {
  put32(out, std::uint32_t(data.size()));
  std::string body(type);
  body += data;
  out += body;
  put32(out, crc32(body));
}

/// A zlib stream of stored blocks (RFC 1950, 1951).
std::string stored(std::string_view data) {
  constexpr std::size_t block = 65535;
  std::string out("\x78\x01", 2);
  for (std::size_t at = 0; at < data.size(); at += block) {
    const std::string_view part = data.substr(at, block);
    out += char(at + block >= data.size());
    for (const std::size_t length : {part.size(), ~part.size()}) {
      out += char(std::uint8_t(length));
      out += char(std::uint8_t(length >> 8));
    }
    out += part;
  }
  put32(out, adler32(data));
  return out;
}

} // namespace

std::string png(const Picture& picture) {
  std::string lines;
  lines.reserve((picture.width * 4 + 1) * picture.height);
  for (std::size_t y = 0; y < picture.height; ++y) {
    lines += '\0'; // no filter
    for (std::size_t x = 0; x < picture.width; ++x) {
      const Pixel& pixel = picture.pixels[y * picture.width + x];
      for (const std::uint8_t channel : {pixel.red, pixel.green, pixel.blue, pixel.alpha})
        lines += char(channel);
    }
  }
  std::string out("\x89PNG\r\n\x1a\n", 8);
  std::string header;
  put32(header, std::uint32_t(picture.width));
  put32(header, std::uint32_t(picture.height));
  header += std::string_view("\x08\x06\0\0\0", 5); // 8 bits, RGB with alpha
  put_chunk(out, "IHDR", header);
  put_chunk(out, "IDAT", stored(lines));
  put_chunk(out, "IEND", {});
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < left ? std::uint8_t(bytes[at + i]) : 0u);
    for (std::size_t i = 0; i < 4; ++i) out += i <= left ? digits[group >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

} // namespace slat::reporting
