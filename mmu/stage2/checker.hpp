// Walks all of a stage-2 table and says what is wrong with it. For tests, and for checked builds where
// nobody faults, zaps or reshapes meanwhile.
#pragma once

#include "mmu/stage2/stage2_table.hpp"

#include <array>
#include <fmt/format.h>
#include <string>
#include <unordered_set>

namespace slat::mmu::stage2 {

struct TableCounts {
  std::uint64_t tables = 0;              // pages, the root included
  std::array<std::uint64_t, 6> leaves{}; // by level
};

/// Counts what is linked. An error says which entry breaks which rule: reserved bits are clear; no
/// entry is FROZEN, DEAD or marked for a collapse; leaves are of levels that the format has, and below
/// the limit; each table page is linked once, and those linked are those that exist. May throw
/// std::bad_alloc.
template <class F, class A> Result<TableCounts> check_table(Stage2Table<F, A>& table) {
  table.drain(); // dead pages exist, too
  TableCounts counts;
  std::string wrong;
  std::unordered_set<const void*> seen;
  const auto visit = [&](const auto& self, const TablePage<F, A>& page, unsigned level,
                         std::uint64_t base) -> void {
    ++counts.tables;
    if (!seen.insert(&page).second) {
      wrong = fmt::format("the table page for {:#x}, level {}, is linked twice", base, level);
      return;
    }
    for (unsigned i = 0; i < F::fan_out && wrong.empty(); ++i) {
      const std::uint64_t entry = page.entries[i].load(std::memory_order_acquire);
      const std::uint64_t at = base + i * F::span(level);
      if (entry == absent_entry) continue;
      const char* what = nullptr;
      if (!F::present(entry))
        what = is_frozen(entry) ? "is FROZEN" : is_dead(entry) ? "is DEAD" : "has stray bits";
      else if ((entry & F::reserved(entry, level)) != 0)
        what = "has reserved bits set";
      else if (F::is_table(entry, level) && (entry & collapsing_bit) != 0)
        what = "is marked for a collapse";
      else if (F::is_leaf(entry, level) && level > F::max_leaf_level)
        what = "is a leaf of a level that has none";
      else if (at >= table.options().limit ||
               (F::is_leaf(entry, level) && at + F::span(level) > table.options().limit))
        what = "is beyond the limit";
      if (what != nullptr) {
        wrong = fmt::format("the entry for {:#x}, level {}, {}: {:#x}", at, level, what, entry);
        return;
      }
      if (F::is_table(entry, level))
        self(self, *page_of<F, A>(entry), level - 1, at);
      else
        ++counts.leaves[level];
    }
  };
  visit(visit, table.root(), table.options().levels, 0);
  if (wrong.empty() && counts.tables != table.table_pages())
    wrong = fmt::format("{} table pages are linked, {} exist", counts.tables, table.table_pages());
  if (!wrong.empty()) return fail(Errc::invalid_argument, 0, std::move(wrong));
  return counts;
}

} // namespace slat::mmu::stage2
