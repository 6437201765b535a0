// Where things are in guest physical memory. All addresses and sizes are in bytes.
//
//   0x00001000  GDT and TSS                     0x0009fc00  reserved up to 1 MiB (BIOS data, ACPI)
//   0x00007000  boot_params ("zero page")       0x00100000  kernel image, then free RAM
//   0x00020000  command line                    0xc0000000  devices up to 4 GiB: never RAM
//   0x00030000  boot page tables                0x100000000 RAM beyond the first 3 GiB
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slat::vmm {

inline constexpr std::uint64_t kib = 1024;
inline constexpr std::uint64_t mib = 1024 * kib;
inline constexpr std::uint64_t gib = 1024 * mib;
inline constexpr std::uint64_t guest_page_size = 4 * kib;

inline constexpr Gpa gdt_address = 0x1000;
inline constexpr Gpa boot_params_address = 0x7000;
inline constexpr Gpa command_line_address = 0x20000;
inline constexpr Gpa page_tables_address = 0x30000;
inline constexpr Gpa page_tables_end = 0x90000; // exclusive
inline constexpr Gpa low_ram_end = 0x9fc00;     // exclusive; from here to 1 MiB is reserved
inline constexpr Gpa high_ram_start = 0x100000; // images are loaded here or above
inline constexpr Gpa device_hole_start = 3 * gib;
inline constexpr Gpa device_hole_end = 4 * gib; // exclusive

inline constexpr std::uint64_t min_ram_size = 4 * mib;
/// What the boot page tables can map: they live below low_ram_end and map 1 GiB a page.
inline constexpr std::uint64_t max_ram_size = 64 * gib;

/// Bytes of "4096", "512K", "256M", "1G", "1T": decimal digits and one optional suffix, in either
/// case, powers of 1024. Errc::invalid_argument on anything else and on what does not fit in 64
/// bits. Never sleeps.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

/// A size of guest RAM: parse_size and then check_ram_size. Never sleeps.
[[nodiscard]] Result<std::uint64_t> parse_ram_size(std::string_view text);

/// Errc::invalid_argument unless `size` is a multiple of 4 KiB from min_ram_size to max_ram_size.
/// Never sleeps.
[[nodiscard]] Result<void> check_ram_size(std::uint64_t size);

/// "256M", "4K", "5000" (bytes): the largest suffix that divides `size`; parse_size reads it back.
/// Never sleeps.
[[nodiscard]] std::string format_size(std::uint64_t size);

/// The RAM ranges of a guest with `size` bytes (as check_ram_size wants it): [0, 3 GiB) and from 4
/// GiB up, ascending. One range where `size` is at most 3 GiB. Never sleeps.
[[nodiscard]] std::vector<GpaRange> ram_layout(std::uint64_t size);

enum class E820Type : std::uint32_t { usable = 1, reserved = 2 };

struct E820Entry {
  Gpa start;
  std::uint64_t size; // bytes
  E820Type type;
};

/// The memory map that a guest with these RAM ranges (ascending, apart) is told: ascending, apart,
/// nothing but RAM is usable, and the part from low_ram_end to 1 MiB is reserved. Never sleeps.
[[nodiscard]] std::vector<E820Entry> e820_map(std::span<const GpaRange> ram);

/// Whether [start, start + size) lies in RAM as a whole; it may go through ranges that touch. `ram`
/// is ascending. A size of 0 is inside where its start is in or at the end of a range. Never
/// sleeps.
[[nodiscard]] bool contains(std::span<const GpaRange> ram, Gpa start, std::uint64_t size);

} // namespace slat::vmm
