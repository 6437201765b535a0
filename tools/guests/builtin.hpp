// The guest images that are part of the program: whole ELF files.
#pragma once

#include <cstddef>
#include <span>

namespace slat::guest {

/// Prints the memory map and its command line, and exits with a code of choice. 16-byte aligned,
/// never empty.
[[nodiscard]] std::span<const std::byte> builtin_hello();

/// The memory-stress image. 16-byte aligned, never empty.
[[nodiscard]] std::span<const std::byte> builtin_memstress();

} // namespace slat::guest
