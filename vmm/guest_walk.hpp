// A walk through the guest's own page tables, for reports and tests: nothing here is on a guest's
// path.
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstdint>

namespace slat::vmm {

struct PagingState {
  std::uint64_t cr0;
  std::uint64_t cr3;
  std::uint64_t cr4;
  std::uint64_t efer;
};

/// The GPA behind a linear address: the address itself (32 bits) where paging is off, else by at
/// most 4 (with CR4.LA57, 5) reads of table entries, with 4 KiB, 2 MiB and 1 GiB pages; permissions
/// and reserved bits are not judged, and no accessed bit is set. Any values are safe.
/// Errc::invalid_argument where nothing is mapped there or the paging mode is a 32-bit one,
/// Errc::out_of_guest_memory where a table is not in RAM; the GPA returned may be outside RAM. May
/// sleep.
[[nodiscard]] Result<Gpa> translate(GuestMemory& memory, const PagingState& paging,
                                    std::uint64_t address);

/// Whether `address` is canonical: all bits from the highest implemented one (47, or 56 with
/// CR4.LA57) up are equal.
[[nodiscard]] bool is_canonical(std::uint64_t address, bool five_levels);

inline constexpr std::uint64_t cr0_protection = 1U << 0;
inline constexpr std::uint64_t cr0_paging = 1U << 31;
inline constexpr std::uint64_t cr4_five_levels = 1U << 12;
inline constexpr std::uint64_t efer_long_mode_active = 1U << 10;

} // namespace slat::vmm
