// What takes translations away from a Stage2Table, and its life and death. Definitions, for
// stage2_table.cpp and for tests that need another atomics policy.
#pragma once

#include "mmu/stage2/checker.hpp"
#include "mmu/stage2/stage2_table.hpp"

#include <fmt/format.h>

namespace slat::mmu::stage2 {

template <class F, class A>
Result<std::unique_ptr<Stage2Table<F, A>>> Stage2Table<F, A>::create(const Stage2Options& options,
                                                                     TlbFlusher& flusher) {
  if (options.levels < F::min_levels || options.levels > F::max_levels)
    return fail(Errc::invalid_argument, 0,
                fmt::format("a stage-2 table of {} levels: this format has {} to {}",
                            options.levels, F::min_levels, F::max_levels));
  if (options.limit == 0 || options.limit % F::span(1) != 0 ||
      options.limit > F::span(options.levels + 1))
    return fail(Errc::invalid_argument, 0,
                fmt::format("{:#x} bytes of guest-physical addresses: a stage-2 table of {} levels "
                            "has whole pages, and at most {:#x} bytes",
                            options.limit, options.levels, F::span(options.levels + 1)));
  if (options.entries_per_section == 0)
    return fail(Errc::invalid_argument, 0, "a walk that yields before it has begun");
  std::unique_ptr<Stage2Table> table(new Stage2Table(options, flusher));
  if (auto reserved = table->log_.reserve(options.limit >> F::shift(1)); !reserved)
    return forward(reserved);
  Page* const root = table->pool_.allocate();
  if (root == nullptr) return fail(Errc::no_memory, 0, "no memory for the root of a stage-2 table");
  table->root_.store(root, std::memory_order_release);
  return table;
}

template <class F, class A> Stage2Table<F, A>::~Stage2Table() {
  Page* const root = root_page();
  if (root == nullptr) return;
#ifdef SLAT_CHECKED
  SLAT_ASSERT(check_table(*this), "a stage-2 table is damaged when it is given up");
#endif
  Page* dead = nullptr;
  kill(log_.current(), *root, options_.levels, 0, dead);
  pool_.retire(dead);
}

template <class F, class A>
void Stage2Table<F, A>::kill(unsigned half, Page& page, unsigned level, std::uint64_t address,
                             Page*& dead) {
  for (unsigned i = 0; i < F::fan_out; ++i) {
    const std::uint64_t at = address + i * F::span(level);
    // For good: from here on a fault that still walks this page changes nothing.
    const std::uint64_t old =
        take_entry<A>(page.entries[i], dead_entry(),
                      [&](std::uint64_t entry) { note_dirty(half, entry, level, at); });
    if (F::is_table(old, level)) kill(half, *page_of<F, A>(old), level - 1, at, dead);
  }
  TablePool<F, A>::set_next(page, dead);
  dead = &page;
}

template <class F, class A> void Stage2Table<F, A>::flush(std::uint64_t start, std::uint64_t end) {
  end = std::min(end, options_.limit);
  if (start < end) flusher_->flush_range(start, end);
}

template <class F, class A>
bool Stage2Table<F, A>::zap_range(std::uint64_t start, std::uint64_t end, Tables tables) {
  const Srcu::ReadGuard taker(takers_);
  const unsigned half = log_.current();
  bool any = false;
  if (tables == Tables::free)
    for (unsigned level = options_.levels; level >= 2; --level)
      any |= unlink_tables(half, start, end, level);
  std::uint64_t flush_from = start;
  std::uint64_t flush_to = end;
  const auto zap = [&](Cursor<F, A>& cursor, std::uint64_t at) {
    if (cursor.value == absent_entry) return Visit::next; // may be passed over: protocol.hpp
    if (!zap_entry<A>(*cursor.entry, cursor.value,
                      [&](std::uint64_t entry) { note_dirty(half, entry, cursor.level, at); }))
      return Visit::again;
    any = true;
    // A huge leaf goes as a whole.
    const std::uint64_t span = F::span(cursor.level);
    flush_from = std::min(flush_from, at & ~(span - 1));
    flush_to = std::max(flush_to, (at & ~(span - 1)) + span);
    return Visit::next;
  };
  walk_range(start, end, 1, true, zap, [&](std::uint64_t at) {
    flush(flush_from, std::max(at, flush_from + 1)); // nothing pending while others run (I28)
    flush_from = at;
    mmu::between_sections();
  });
  flush(flush_from, flush_to);
  return any;
}

/// Cuts off tables at `level` that map nothing outside of the range.
template <class F, class A>
bool Stage2Table<F, A>::unlink_tables(unsigned half, std::uint64_t start, std::uint64_t end,
                                      unsigned level) {
  const std::uint64_t span = F::span(level);
  start = (start + span - 1) & ~(span - 1);
  // What lies beyond the limit is never mapped.
  end = end >= options_.limit ? (options_.limit + span - 1) & ~(span - 1) : end & ~(span - 1);
  if (start >= end) return false;
  bool any = false;
  Page* dead = nullptr;
  std::uint64_t flush_from = start;
  const auto release = [&](std::uint64_t to) {
    if (dead == nullptr) return;
    flush(flush_from, to); // cached upper levels, too
    pool_.retire(dead);
    dead = nullptr;
  };
  const auto unlink = [&](Cursor<F, A>& cursor, std::uint64_t at) {
    if (cursor.level != level || !F::is_table(cursor.value, level)) return Visit::next;
    std::uint64_t value = cursor.value;
    // Acquire: the child's entries.
    if (!cursor.entry->compare_exchange_strong(value, absent_entry, std::memory_order_acq_rel,
                                               std::memory_order_relaxed))
      return Visit::again;
    kill(half, *page_of<F, A>(value), level - 1, at & ~(span - 1), dead);
    any = true;
    return Visit::next;
  };
  walk_range(start, end, level, true, unlink, [&](std::uint64_t at) {
    release(at);
    flush_from = at;
    mmu::between_sections();
  });
  release(end);
  return any;
}

template <class F, class A>
bool Stage2Table<F, A>::protect_range(std::uint64_t start, std::uint64_t end) {
  const Srcu::ReadGuard taker(takers_);
  const unsigned half = log_.current();
  bool any = false;
  std::uint64_t flush_from = start;
  std::uint64_t flush_to = end;
  const auto protect = [&](Cursor<F, A>& cursor, std::uint64_t at) {
    std::uint64_t to = absent_entry; // FROZEN may be about to become writable
    if (F::present(cursor.value)) {
      to = F::write_protected(cursor.value) & ~may_write_bit;
      if (to == cursor.value) return Visit::next;
    } else if (cursor.value == absent_entry) {
      return Visit::next;
    }
    note_dirty(half, cursor.value, cursor.level, at);
    if (!change_leaf<A>(*cursor.entry, cursor.value, to)) return Visit::again;
    any = true;
    const std::uint64_t span = F::span(cursor.level);
    flush_from = std::min(flush_from, at & ~(span - 1));
    flush_to = std::max(flush_to, (at & ~(span - 1)) + span);
    return Visit::next;
  };
  walk_range(start, end, 1, true, protect, [&](std::uint64_t at) {
    flush(flush_from, std::max(at, flush_from + 1));
    flush_from = at;
    mmu::between_sections();
  });
  flush(flush_from, flush_to);
  return any;
}

template <class F, class A> Result<void> Stage2Table<F, A>::invalidate_root() {
  Page* const fresh = pool_.allocate();
  if (fresh == nullptr)
    return fail(Errc::no_memory, 0, "no memory for a new root of a stage-2 table");
  const Srcu::ReadGuard taker(takers_);
  const unsigned half = log_.current();
  // Release: the fresh page's entries. Acquire: the old one, if another thread has made it.
  Page* const old = root_.exchange(fresh, std::memory_order_acq_rel);
  Page* dead = nullptr;
  kill(half, *old, options_.levels, 0, dead);
  flush(0, options_.limit);
  pool_.retire(dead);
  return {};
}

} // namespace slat::mmu::stage2
