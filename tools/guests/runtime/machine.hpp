// What a guest image gets to know of its machine, and the two functions through which it is entered
// and left.
#pragma once

#include "guests/command_line.hpp"

#include <cstdint>

namespace slat::guest {

/// Bytes of the boot_params page ("zero page") that are used here.
struct BootParams {
  static constexpr std::uint32_t type_ram = 1;

  struct [[gnu::packed]] E820Entry {
    std::uint64_t start;
    std::uint64_t size;
    std::uint32_t type;
  };

  [[nodiscard]] unsigned e820_count() const;
  [[nodiscard]] const E820Entry* e820() const;
  [[nodiscard]] Text command_line() const; // of at most 4095 bytes
};

/// Collected at CPL 0, because CPL 3 cannot.
struct Boot {
  const BootParams* params;
  std::uint64_t tsc_khz; // 0: unknown
  std::uint64_t cr3;
  std::uint32_t paging_levels; // 4 or 5
  std::uint32_t vcpu;
  std::uint32_t vcpu_count;
};

/// Ends the machine. Works from any vCPU at any privilege level.
[[noreturn]] void exit_machine(std::uint32_t code);

/// Takes the exception handlers away: the next exception becomes a triple fault.
void drop_exception_handlers();

/// The image itself, at CPL 3 with IOPL 3, on every vCPU that the contract starts. Must not return.
[[noreturn]] void guest_main(const Boot& boot);

/// Called before an unexpected exception is printed and ends the machine with exit_exception.
void guest_crashed(std::uint32_t vcpu);

} // namespace slat::guest

extern "C" const char slat_image_end[]; // guest.ld: first byte after .bss
