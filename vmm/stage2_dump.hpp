// The live stage-2 table as text, for `slat dump stage2`.
#pragma once

#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_table.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace slat::vmm {

struct Stage2DumpOptions {
  std::uint64_t start = 0;        // guest-physical, in bytes
  std::uint64_t end = UINT64_MAX; // exclusive
  bool exact = false;             // leaves with different A or D do not share a line
  std::size_t max_lines = SIZE_MAX;
};

/// What the table maps in the range, in lines of at most 80 columns, each ended by a newline: two
/// lines about all of it, a header row, and a line for each run of leaves that are adjacent in guest
/// and host addresses and alike in size, permissions and memory type:
///
///   guest range (hex)    size leaf rwx mt accessed    dirty host (hex)
///   00000000-00003000     12K   4K rwx WB        3        1 7f0000000000
///
/// `size` and `leaf` are bytes; `mt` is WB (write-back) or UC (uncached); `accessed` and `dirty` count
/// leaves, dirty ones as the table's DirtyTracking has it: with write protection a leaf without `w`
/// may be one that is clean. After `max_lines` runs the last line says how many more there are.
/// vCPUs, faults and zaps may run meanwhile: each leaf is as it was at some moment of the call.
/// Takes no lock; may sleep; not in an RCU section. May throw std::bad_alloc.
[[nodiscard]] std::string stage2_text(const mmu::stage2::Stage2Table<mmu::stage2::EptFormat>& table,
                                      const Stage2DumpOptions& options = {});

} // namespace slat::vmm
