// What all formats of a stage-2 entry share: permissions, memory types, and entries that are not
// present, whose bits are software's own.
//
//   bits 2-0 zero: not present in any format (EPT: no R, W, X; arm64: not valid)
//   0                    absent: nothing is mapped, a fault may freeze it
//   bit 11, id in 51-12  FROZEN: an install under way; the id is the thread's (install.hpp says why)
//   bit 10, next in 51-12 DEAD: the entry is in a table page that has been unlinked; it never changes
//                         again, so a fault that still walks there can install nothing
#pragma once

#include <cstdint>

namespace slat::mmu::stage2 {

struct Permissions {
  bool read = true;
  bool write = false;
  bool execute = false;
  bool operator==(const Permissions&) const = default;
};

enum class MemoryType : std::uint8_t { write_back, uncached };

inline constexpr std::uint64_t absent_entry = 0;
inline constexpr std::uint64_t frozen_bit = std::uint64_t(1) << 11;
inline constexpr std::uint64_t dead_bit = std::uint64_t(1) << 10;

/// Bits 55 and 56 belong to software in present entries of all formats.
/// Leaf: writes are allowed, even if the entry is write-protected for the dirty log just now.
inline constexpr std::uint64_t may_write_bit = std::uint64_t(1) << 55;
/// Table: a collapse of it is under way (protocol.hpp).
inline constexpr std::uint64_t collapsing_bit = std::uint64_t(1) << 56;

inline constexpr std::uint64_t address_mask = 0x000f'ffff'ffff'f000; // 51-12

/// Only for entries that are not present.
[[nodiscard]] constexpr bool is_frozen(std::uint64_t entry) {
  return (entry & (frozen_bit | 7)) == frozen_bit;
}

[[nodiscard]] constexpr bool is_dead(std::uint64_t entry) {
  return (entry & (frozen_bit | dead_bit | 7)) == dead_bit;
}

/// `next`: the next page on a list of dead ones, page aligned, or 0.
[[nodiscard]] constexpr std::uint64_t dead_entry(std::uint64_t next = 0) {
  return dead_bit | next;
}

namespace detail {
inline constinit thread_local std::uint64_t this_frozen_entry = 0; // none yet
std::uint64_t claim_frozen_entry();
} // namespace detail

/// The calling thread's own FROZEN value. No other thread ever has it, before or after.
[[nodiscard]] inline std::uint64_t frozen_entry() {
  const std::uint64_t mine = detail::this_frozen_entry;
  return mine != 0 ? mine : detail::claim_frozen_entry();
}

static_assert(is_dead(dead_entry()) && !is_frozen(dead_entry()) && !is_dead(frozen_bit));

} // namespace slat::mmu::stage2
