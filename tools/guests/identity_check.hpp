// Whether the loader's page tables let a guest at CPL 3 use its memory: identity-mapped, writable,
// user, and with the tables themselves elsewhere. Pure and freestanding.
#pragma once

#include "guests/memory_plan.hpp"

#include <cstdint>

namespace slat::guest {

enum class MappingFault { none, not_present, not_user_writable, not_identity, table_in_the_way };

struct MappingCheck {
  MappingFault fault = MappingFault::none;
  std::uint64_t address = 0; // that is mapped wrongly, or of the table that is in the way
};

/// Walks the tables for every address in [0, end), where `used(start, bytes)` says whether any of
/// that memory is needed and `read(address)` gives a table entry. 4 or 5 levels. RAM that is not
/// used need not be mapped.
template <class Used, class Read>
MappingCheck check_identity(std::uint64_t cr3, unsigned levels, std::uint64_t end, Used&& used,
                            Read&& read) {
  constexpr std::uint64_t present = 1, write_user = 2 | 4, huge = 1 << 7;
  constexpr std::uint64_t address_mask = 0x000ffffffffff000;
  for (std::uint64_t address = 0; address < end;) {
    std::uint64_t table = cr3 & address_mask, rights = write_user, size = 0;
    for (unsigned level = levels; size == 0; --level) {
      const unsigned shift = 12 + 9 * (level - 1);
      const std::uint64_t span = std::uint64_t{1} << shift;
      if (used(table, page_size)) return {MappingFault::table_in_the_way, table};
      const std::uint64_t entry = read(table + (address >> shift & 511) * 8);
      if ((entry & present) == 0) {
        if (used(address & ~(span - 1), span)) return {MappingFault::not_present, address};
        size = span;
        break;
      }
      rights &= entry;
      if (level == 1 || (level <= 3 && (entry & huge) != 0)) {
        size = span;
        if (!used(address, size)) break;
        if (rights != write_user) return {MappingFault::not_user_writable, address};
        if ((entry & address_mask & ~(span - 1)) != address)
          return {MappingFault::not_identity, address};
        break;
      }
      table = entry & address_mask;
    }
    address = (address | (size - 1)) + 1;
  }
  return {};
}

/// Whether the plan uses any of [start, start + bytes).
[[nodiscard]] constexpr bool plan_uses(const MemoryPlan& plan, std::uint64_t start,
                                       std::uint64_t bytes) {
  const auto overlap = [&](std::uint64_t from, std::uint64_t to) {
    return start < to && from < start + bytes;
  };
  if (overlap(plan.generations, plan.shared + plan.shared_pages * page_size)) return true;
  for (std::size_t i = 0; i < plan.range_count; ++i) {
    const PageRange& r = plan.ranges[i];
    if (overlap(r.start, r.start + r.pages * page_size)) return true;
  }
  return false;
}

} // namespace slat::guest
