// The guest's own page tables: 4 levels, 4 KiB, 2 MiB and 1 GiB pages, accessed and dirty bits set by
// compare-exchange, so that a vCPU that changes an entry meanwhile never loses its change.
#pragma once

#include "vmm/softcpu/fault.hpp"
#include "vmm/softcpu/table_cache.hpp"

#include <cstdint>

namespace slat::vmm::softcpu {

struct WalkRequest {
  std::uint64_t linear;
  std::uint64_t cr0, cr3, cr4, efer;
  Access access;
  bool user;         // the access is made with user privilege
  bool smap_allowed; // supervisor access to user pages although CR4.SMAP is set: RFLAGS.AC

  bool operator==(const WalkRequest&) const = default;
};

struct WalkResult {
  enum class Outcome : std::uint8_t { mapped, fault, absent, table_failed } outcome;
  Fault fault; // #PF or #GP
  std::uint64_t
      gpa; // mapped: of the byte; absent, table_failed: of the table that stage 2 lacks, or that is a device
  bool large; // mapped by a 2 MiB or 1 GiB page
};

/// Walks, sets A in every entry used and D in the leaf for a write. In guest mode; does not sleep. Tables are accessed
/// for writing in stage 2, whatever `access` is.
[[nodiscard]] WalkResult walk_guest_tables(TableCache& tables, const WalkRequest& request);

} // namespace slat::vmm::softcpu
