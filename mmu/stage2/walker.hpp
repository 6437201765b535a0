// Walks of a stage-2 table, for any entry format: down to one address, and over a range.
//
// A walk takes no lock. It runs in an RCU section, and so on pages that stay allocated; an entry that
// it stands on may be changed by others at any moment, or DEAD if its page has been unlinked. Levels
// count from 1, the level of 4 KiB pages.
#pragma once

#include "mmu/stage2/protocol.hpp"
#include "mmu/stage2/table_pool.hpp"

#include <algorithm>

namespace slat::mmu::stage2 {

/// An entry, and what it was when the walk read it.
template <class F, class A> struct Cursor {
  TablePage<F, A>* page;
  EntryOf<A>* entry;
  std::uint64_t value;
  unsigned level;
};

template <class F> [[nodiscard]] constexpr unsigned index_of(std::uint64_t at, unsigned level) {
  return unsigned(at >> F::shift(level)) & (F::fan_out - 1);
}

/// Down to `target` level, or to the entry above it that is no table. In an RCU section. Every access of a vCPU and
/// every fault is such a walk: it is made for the caller's constants.
/// `stop_collapses`: what an invalidator asks for; see protocol.hpp.
template <class F, class A, bool stop_collapses = false>
[[nodiscard, gnu::always_inline]] inline Cursor<F, A>
walk_down(TablePage<F, A>* page, unsigned level, std::uint64_t at, unsigned target) {
  for (;; --level) {
    EntryOf<A>& entry = page->entries[index_of<F>(at, level)];
    std::uint64_t value = entry.load(std::memory_order_acquire); // pairs with link_table()
    if constexpr (stop_collapses)
      if (F::is_table(value, level)) stop_collapse<A>(entry, value);
    if (level == target || !F::is_table(value, level)) return {page, &entry, value, level};
    page = page_of<F, A>(value);
  }
}

/// What a visitor wants next.
enum class Visit {
  next,
  again, // the entry has changed: look at the same address once more, from the root
};

struct RangeWalk {
  unsigned levels;
  unsigned target = 1;          // tables of this level are visited, not entered
  unsigned entries_per_section; // then the walk yields
  bool stop_collapses = false;
};

/// Calls `visit(cursor, address)` for every entry that maps, or could map, a part of [start, end): its
/// level is `target`, or above it if the walk ends there. DEAD entries are not shown: the address is
/// looked up again, for something else is in their place. Between visits it leaves the RCU section
/// now and then and calls `before_yield(address)`, with all entries below `address` visited; each
/// section visits at least one (I35). `root()` gives the root page. Not in an RCU section; sleeps if
/// before_yield does.
template <class F, class A, class Root, class VisitEntry, class BeforeYield>
void for_each_entry(const RangeWalk& walk, Root root, std::uint64_t start, std::uint64_t end,
                    VisitEntry visit, BeforeYield before_yield) {
  std::uint64_t at = start;
  while (at < end) {
    {
      const rcu::ReadGuard section;
      Cursor<F, A> cursor{};
      for (unsigned visited = 0; at < end && visited < walk.entries_per_section;) {
        if (cursor.page == nullptr) {
          cursor = walk.stop_collapses ? walk_down<F, A, true>(root(), walk.levels, at, walk.target)
                                       : walk_down<F, A>(root(), walk.levels, at, walk.target);
        } else { // the next one in the same page
          ++cursor.entry;
          cursor.value = cursor.entry->load(std::memory_order_acquire); // as in walk_down()
          if (cursor.level > walk.target && F::is_table(cursor.value, cursor.level)) {
            cursor.page = nullptr;
            continue;
          }
        }
        if (is_dead(cursor.value)) {
          cursor.page = nullptr;
          continue;
        }
        ++visited;
        if (visit(cursor, at) == Visit::again) {
          cursor.page = nullptr;
          continue;
        }
        const std::uint64_t span = F::span(cursor.level);
        at = (at & ~(span - 1)) + span;
        if (index_of<F>(at, cursor.level) == 0) cursor.page = nullptr;
      }
    }
    if (at < end) before_yield(at);
  }
}

} // namespace slat::mmu::stage2
