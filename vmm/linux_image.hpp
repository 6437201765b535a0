// Loads Linux's bzImage and an initial RAM disk, as the kernel's Documentation/arch/x86/boot.rst says for a 64-bit entry.
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace slat::vmm {

struct LinuxImage {
  Gpa entry;                           // in 64-bit mode, with memory mapped one to one
  GpaRange room;                       // what the kernel uses until it has read the memory map
  Gpa initrd_end;                      // exclusive; where an initial RAM disk may reach to
  std::size_t max_command_line;        // bytes without the NUL
  std::vector<std::byte> setup_header; // for the zero page, from its byte 0x1f1 on
};

/// Whether `image` begins as a bzImage does: with a boot sector's mark and "HdrS". Never sleeps.
[[nodiscard]] bool is_bzimage(std::span<const std::byte> image);

/// Loads the protected-mode kernel of a bzImage where it wants to be, or, if that is not RAM and it can be moved, at the
/// lowest address that will do. `name` is for messages. Errors: bad_image, with one line that says what is wrong, before
/// anything is written; the memory's own. May sleep.
[[nodiscard]] Result<LinuxImage> load_bzimage(GuestMemory& memory, std::span<const std::byte> image,
                                              std::string_view name);

/// Puts an initial RAM disk as high as the kernel allows, in one range of RAM and clear of the kernel's room. Errors:
/// bad_image where it is empty, or there is no room; the memory's own. May sleep.
[[nodiscard]] Result<GpaRange> load_initrd(GuestMemory& memory, std::span<const std::byte> initrd,
                                           std::string_view name, const LinuxImage& kernel);

} // namespace slat::vmm
