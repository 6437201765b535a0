// Instructions that C++ has no word for. All of them work at CPL 0 and, with IOPL 3, at CPL 3.
#pragma once

#include <cstddef>
#include <cstdint>

namespace slat::guest {

inline std::uint8_t in8(std::uint16_t port) {
  std::uint8_t value = 0;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

inline void out32(std::uint16_t port, std::uint32_t value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

/// One exit for the whole string where the host supports that.
inline void out8_string(std::uint16_t port, const char* data, std::size_t size) {
  asm volatile("rep outsb" : "+S"(data), "+c"(size) : "d"(port) : "memory");
}

inline void pause() {
  asm volatile("pause" : : : "memory");
}

inline std::uint64_t read_tsc() {
  std::uint32_t low = 0, high = 0;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return std::uint64_t{high} << 32 | low;
}

} // namespace slat::guest
