// Split and collapse of a Stage2Table's leaves (I33). Definitions; see stage2_zap.hpp. (collapse() is a
// template over the sequence, so whoever collapses includes this.)
#pragma once

#include "mmu/stage2/stage2_table.hpp"

namespace slat::mmu::stage2 {

template <class F, class A>
Result<void> Stage2Table<F, A>::split_range(std::uint64_t start, std::uint64_t end,
                                            unsigned level) {
  Page* spare = nullptr;
  for (std::uint64_t done = start; done < std::min(end, options_.limit);) {
    if (spare == nullptr) spare = pool_.allocate(); // outside of the RCU section
    if (spare == nullptr)
      return fail(Errc::no_memory, 0, "no memory for a table page to split a huge leaf into");
    // As far as one page lasts.
    std::uint64_t next = std::min(end, options_.limit);
    const auto split = [&](Cursor<F, A>& cursor, std::uint64_t at) {
      if (cursor.level <= level || !F::is_leaf(cursor.value, cursor.level)) return Visit::next;
      if (spare == nullptr) {
        next = std::min(next, at);
        return Visit::next;
      }
      fill_child<F, A>(*spare, cursor.value, cursor.level);
      if (link_table<F, A>(*cursor.entry, cursor.value, *spare)) spare = nullptr;
      return Visit::again; // down into it, or whatever it is now
    };
    walk_range(done, next, level, false, split, yield);
    done = next;
  }
  pool_.free_private(spare);
  return {};
}

template <class F, class A>
template <class Seq>
CollapseOutcome Stage2Table<F, A>::collapse(std::uint64_t address, std::uintptr_t hva,
                                            unsigned level, const Seq& seq) {
  const std::uint64_t span = F::span(level);
  const std::uint64_t start = address & ~(span - 1);
  if (level < 2 || level > F::max_leaf_level || start + span > options_.limit)
    return CollapseOutcome::not_alike;
  const std::uint64_t snapshot = seq.snapshot(); // before the table is looked at
  const std::uintptr_t hva_start = hva - (address - start);
  const MutexGuard turn(turns_);
  Page* child = nullptr;
  std::uint64_t leaf = 0;
  {
    const rcu::ReadGuard section;
    const auto at = walk_down<F, A>(root_page(), options_.levels, address, level);
    if (at.level != level || !F::is_table(at.value, level)) return CollapseOutcome::not_alike;
    const CollapseOutcome outcome = collapse_entry<F, A>(*at.entry, at.value, level, seq, snapshot,
                                                         hva_start, hva_start + span, leaf);
    if (outcome != CollapseOutcome::collapsed) return outcome;
    child = page_of<F, A>(at.value); // unlinked: from here on this thread's, to retire
  }
  // Accesses through the parts go on until the flush; only then is their dirtiness complete.
  flush(start, start + span);
  Page* dead = nullptr;
  kill(log_.current(), *child, level - 1, start, dead);
  pool_.retire(dead);
  return CollapseOutcome::collapsed;
}

} // namespace slat::mmu::stage2
