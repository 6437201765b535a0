// What a guest image asks of slat, in ELF notes of owner "slat".
//
//   type 1  u32  flags; bit 0: every vCPU starts at the entry (otherwise only the first does)
//   type 2  u64  GPA of the guest's mailbox page: 4 KiB aligned, in RAM
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace slat::vmm {

inline constexpr std::string_view note_owner = "slat";
inline constexpr std::uint32_t note_type_flags = 1;
inline constexpr std::uint32_t note_type_mailbox = 2;
inline constexpr std::uint32_t note_flag_all_vcpus = 1U << 0;

/// A larger note segment is refused: real ones have some hundred bytes.
inline constexpr std::uint64_t max_note_segment_size = std::uint64_t{64} * 1024;

struct GuestNotes {
  bool all_vcpus_start = false; // every vCPU starts at the entry
  std::optional<Gpa> mailbox;
  bool is_linux = false; // it has a note of owner "Linux", as every vmlinux has: it wants a PC
};

/// Reads the notes of one PT_NOTE segment into `notes`, which may hold those of segments before.
/// `segment` is its file content, `alignment` its p_align (8 pads to 8 bytes, anything else to 4),
/// `image_name` is for messages and `ram` ascending. Notes of other owners are skipped.
/// Errc::bad_image, with nothing promised about `notes`, on a note that does not fit in its segment
/// and on a note of slat's with an unknown type or flag, a wrong size, or a mailbox that is not a
/// page of RAM or is given twice. Flags of several notes add up. Never sleeps.
[[nodiscard]] Result<void> read_elf_notes(GuestNotes& notes, std::span<const std::byte> segment,
                                          std::uint64_t alignment, std::string_view image_name,
                                          std::span<const GpaRange> ram);

} // namespace slat::vmm
