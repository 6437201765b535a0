// The "zero page" and the command line of the Linux x86-64 boot protocol; slat's own guests get the
// same.
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace slat::vmm {

/// Bytes without the terminating NUL: Linux keeps 2048 with it.
inline constexpr std::size_t max_command_line = 2047;

struct BootParams {
  std::string_view command_line = "";
  std::optional<GpaRange> initrd = std::nullopt; // loaded by the caller, in RAM below 4 GiB
  Gpa acpi_rsdp = 0;                             // 0 where there are no ACPI tables
  std::span<const std::byte> setup_header = {};  // a bzImage's own, from its byte 0x1f1 on
};

/// Errc::invalid_argument on a command line over max_command_line or with a NUL in it. Never
/// sleeps.
[[nodiscard]] Result<void> check_command_line(std::string_view text);

/// Writes the zero page at boot_params_address, with the e820 map of the memory's own ranges, and
/// the command line at command_line_address. Errc::invalid_argument as check_command_line, and on
/// an initrd that is not in RAM below 4 GiB, before anything is written. May sleep.
[[nodiscard]] Result<void> write_boot_params(GuestMemory& memory, const BootParams& params);

} // namespace slat::vmm
