// What accesses leave behind in a Stage2Table: the dirty log and the age. Definitions; see
// stage2_zap.hpp.
#pragma once

#include "mmu/stage2/stage2_table.hpp"

namespace slat::mmu::stage2 {

template <class F, class A>
void Stage2Table<F, A>::read_dirty(std::uint64_t start, std::uint64_t end,
                                   std::span<std::uint64_t> bits) {
  SLAT_CHECK(start % (64 * F::span(1)) == 0 && end % (64 * F::span(1)) == 0 &&
                 bits.size() >= (end - start) / (64 * F::span(1)),
             "a part of the dirty log that is not whole words");
  const MutexGuard turn(turns_);
  const unsigned half = log_.current();
  std::uint64_t flush_from = start;
  const auto clean = [&](Cursor<F, A>& cursor, std::uint64_t at) {
    if (!is_dirty(cursor.value, cursor.level)) return Visit::next;
    note_dirty(half, cursor.value, cursor.level, at);
    const std::uint64_t to = options_.tracking == DirtyTracking::dirty_bits
                                 ? F::cleaned(cursor.value)
                                 : F::write_protected(cursor.value);
    if (!change_leaf<A>(*cursor.entry, cursor.value, to)) return Visit::again;
    flush_from = std::min(flush_from, at & ~(F::span(cursor.level) - 1));
    return Visit::next;
  };
  std::uint64_t flush_to = end;
  walk_range(
      start, end, 1, false,
      [&](Cursor<F, A>& cursor, std::uint64_t at) {
        if (cursor.level > 1) flush_to = std::max(flush_to, (at | (F::span(cursor.level) - 1)) + 1);
        return clean(cursor, at);
      },
      [&](std::uint64_t at) {
        flush(flush_from, std::max(at, flush_from + 1));
        flush_from = at;
        mmu::between_sections();
      });
  // A TLB may let writes pass without a mark until it is flushed: they belong to this reading, and
  // their pages are in the log by now (I32).
  flush(flush_from, flush_to);
  const std::uint64_t first = start >> F::shift(1);
  const std::uint64_t last = std::min(end, options_.limit) >> F::shift(1);
  std::fill(bits.begin(), bits.end(), 0);
  for (int halves = 0; halves < 2;
       ++halves) { // an earlier reading of another range leaves bits in either
    const unsigned old = log_.current();
    log_.flip();
    // Who has taken something dirty before it was cleaned here has flushed it after this.
    takers_.synchronize();
    for (std::uint64_t page = first, i = 0; page < last; page += 64, ++i)
      bits[i] |= log_.take(old, page / 64);
  }
}

template <class F, class A>
bool Stage2Table<F, A>::age(std::uint64_t start, std::uint64_t end, Age how) {
  bool young = false;
  std::uint64_t flush_from = start;
  std::uint64_t flush_to = end;
  const auto look = [&](Cursor<F, A>& cursor, std::uint64_t at) {
    if (!F::is_leaf(cursor.value, cursor.level) || !F::accessed(cursor.value)) return Visit::next;
    young = true;
    if (how == Age::test) return Visit::next;
    // A collapse under way may bring the bit back: a page seems young once more.
    if (!change_leaf<A>(*cursor.entry, cursor.value, F::aged(cursor.value))) return Visit::again;
    const std::uint64_t span = F::span(cursor.level);
    flush_from = std::min(flush_from, at & ~(span - 1));
    flush_to = std::max(flush_to, (at & ~(span - 1)) + span);
    return Visit::next;
  };
  walk_range(start, end, 1, false, look, yield);
  // After all of it: nothing depends on an age but how well the next victim is chosen.
  if (young && how == Age::clear_and_flush) flush(flush_from, flush_to);
  return young;
}

} // namespace slat::mmu::stage2
