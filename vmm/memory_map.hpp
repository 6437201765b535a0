// A sample of guest memory: what slat knows about each page, without its content.
#pragma once

#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_table.hpp"
#include "vmm/guest_ram.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace slat::vmm {

/// What is marked of a page, as bits.
struct PageMark {
  static constexpr std::uint8_t resident = 1 << 0; // has content in the host; excludes the next two
  static constexpr std::uint8_t reclaimed = 1 << 1;     // its content is in the store
  static constexpr std::uint8_t poisoned = 1 << 2;      // its source failed
  static constexpr std::uint8_t mapped = 1 << 3;        // the guest reaches it without a fault
  static constexpr std::uint8_t young = 1 << 4;         // accessed since somebody last looked
  static constexpr std::uint8_t dirty = 1 << 5;         // written since somebody last looked
  static constexpr std::uint8_t huge = 1 << 6;          // mapped by a leaf of more than 4 KiB
  static constexpr std::uint8_t write_tracked = 1 << 7; // its first write will be noted
};

/// One word for a page: the last that applies, but the first three exclude the others.
enum class MemoryState { not_resident, reclaimed, poisoned, unmapped, mapped, young, dirty };
inline constexpr std::size_t memory_states = 7;

[[nodiscard]] constexpr MemoryState memory_state(std::uint8_t marks) {
  if ((marks & PageMark::poisoned) != 0) return MemoryState::poisoned;
  if ((marks & PageMark::reclaimed) != 0) return MemoryState::reclaimed;
  if ((marks & PageMark::resident) == 0) return MemoryState::not_resident;
  if ((marks & PageMark::mapped) == 0) return MemoryState::unmapped;
  if ((marks & PageMark::dirty) != 0) return MemoryState::dirty;
  return (marks & PageMark::young) != 0 ? MemoryState::young : MemoryState::mapped;
}

struct MemoryMap {
  struct Part {
    Gpa start;
    std::vector<std::uint8_t> pages; // PageMark bits

    [[nodiscard]] Gpa end() const { return start + pages.size() * 4096; }
  };

  std::vector<Part> parts;    // ascending, apart
  std::vector<GpaRange> huge; // the huge leaves, ascending
  bool from_table = false;    // mapped, young, dirty and huge are a stage-2 table's
};

/// Samples every page of the regions (ascending), which `views` (AddressSpace::vmas()) map. Without a table (under KVM, whose tables slat does
/// not read) `mapped`, `young` and `dirty` are what page words say: installed in the guest view; accessed,
/// as far as slat took part in it; installed for writing, or written by slat. Nothing is huge then. With
/// one the table is read last, and is right where the two disagree. `write_tracked` is what page words say, always.
///
/// The guest may run meanwhile: each page is as it was at some moment of the call, not all at the same.
/// The regions stay. Takes no lock; may sleep; not in an RCU section. May throw std::bad_alloc.
[[nodiscard]] MemoryMap
collect_memory_map(std::span<const GuestRam::Region> regions, const mmu::VmaViews& views,
                   const mmu::stage2::Stage2Table<mmu::stage2::EptFormat>* table);

} // namespace slat::vmm
