// Looks at all leaves of a Stage2Table while others change it: for dumps and pictures. Definition; see
// stage2_zap.hpp.
//
// Inside a section the walk only copies entries into an array on the stack. The visitor gets them
// between two sections, so it keeps no grace period waiting, whatever it does.
#pragma once

#include "mmu/stage2/stage2_table.hpp"

#include <array>

namespace slat::mmu::stage2 {

template <class F, class A>
template <class VisitLeaf>
void Stage2Table<F, A>::for_each_leaf(std::uint64_t start, std::uint64_t end,
                                      VisitLeaf visit) const {
  struct Seen {
    std::uint64_t place; // address, and the level in the bits of the page offset
    std::uint64_t entry;
  };

  constexpr unsigned most = 1024; // 16 KiB of stack
  constexpr std::uint64_t offset_mask = F::span(1) - 1;
  const std::uint64_t limit = std::min(end, options_.limit);
  std::array<Seen, most> seen; // not initialised: the first `count` are
  unsigned count = 0;
  const auto show = [&] {
    for (const Seen& leaf : std::span(seen).first(count)) {
      const auto level = unsigned(leaf.place & offset_mask);
      const std::uint64_t at = leaf.place & ~offset_mask;
      const std::uint64_t offset = at & (F::span(level) - 1);
      visit(LeafView{.address = at,
                     .bytes = std::min(F::span(level) - offset, limit - at),
                     .host = F::address(leaf.entry) + offset,
                     .level = level,
                     .allowed = F::permissions(leaf.entry),
                     .type = F::memory_type(leaf.entry),
                     .accessed = F::accessed(leaf.entry),
                     .dirty = is_dirty(leaf.entry, level)});
    }
    count = 0;
  };
  for_each_entry<F, A>(
      {.levels = options_.levels,
       .entries_per_section = std::min(options_.entries_per_section, most)},
      [this] { return root_page(); }, start & ~offset_mask, limit,
      [&](const Cursor<F, A>& cursor, std::uint64_t at) {
        if (F::is_leaf(cursor.value, cursor.level))
          seen[count++] = {at | cursor.level, cursor.value};
        return Visit::next;
      },
      [&](std::uint64_t at) {
        show();
        yield(at);
      });
  show();
}

} // namespace slat::mmu::stage2
