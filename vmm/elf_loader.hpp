// Loads a static x86-64 ELF kernel (slat's own guests, Linux's vmlinux) into guest RAM.
#pragma once

#include "vmm/elf_notes.hpp"
#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace slat::vmm {

struct LoadedKernel {
  Gpa entry;       // in 64-bit mode, with paging on and the image mapped one to one
  Gpa image_start; // of the lowest segment
  Gpa image_end;   // exclusive, of the highest segment with its zeroed part
  GuestNotes notes;
};

/// Loads the segments of `image` at their physical addresses and zeroes what has no file content.
/// `name` is for messages. The image is validated as a whole before anything is written, so that a
/// refused one changes nothing: Errc::bad_image, with one line that says what is wrong. The rules
/// beyond ELF's own: ELF64, little-endian, x86-64, ET_EXEC, no interpreter, at most 128 program
/// headers; segments in RAM at 1 MiB or above and apart; the entry in the file content of an
/// executable segment. Fails with the memory's own error where a write fails, and then part of the
/// image may be there. May sleep.
[[nodiscard]] Result<LoadedKernel> load_elf(GuestMemory& memory, std::span<const std::byte> image,
                                            std::string_view name);

} // namespace slat::vmm
