// What may happen to one stage-2 entry, and in which order. Nobody takes a lock for it, but for those
// who collapse or clean, who take turns among themselves.
//
//   absent -> FROZEN(t) -> leaf, or back    a fault, checked in between (install.hpp)
//   leaf   -> FROZEN(t) -> leaf             a fault that needs more than the leaf allows
//   absent -> table                         a fault that needs a level below: the child is empty
//   leaf   -> leaf | W                      a write fault on a leaf that is protected for the log only
//   leaf   -> leaf | A, D                   hardware, or a software vCPU, at an access
//   leaf   -> leaf without A                aging
//   leaf   -> leaf without D (or W)         cleaning, for the dirty log
//   leaf, FROZEN -> absent                  an invalidator
//   leaf   -> table                         split: the child maps the same, part by part
//   table  -> table | collapsing -> leaf    collapse
//   table  -> absent; its entries -> DEAD   an invalidator whose range covers all of it
//
// Every step is one CAS from the value that it was decided on, so it fails if anything of the entry
// has changed. Values that come back (A to B to A) do no harm where the value alone decides: a leaf
// is good while it is in the table. FROZEN values are a thread's own; there is one collapse at a time.
//
// Orderings. Whatever links a page that was filled before (a child, the content behind a leaf) is a
// release CAS, and walkers load with acquire. An invalidator looks at entries after the fence of
// InvalidateSeq::begin(), a fault or collapse checks the sequence after "intent; fence": one of them
// sees the other. Hence an invalidator may pass over an entry that it reads absent.
//
// Split (I33). The child is private until the CAS, and inherits A and D, so nothing is lost and
// nothing is ever unmapped. A TLB may hold the old size for as long as it likes: it is the same
// translation, and the flush of a range covers either.
//
// Collapse (I20, I33). To read the children and then link the whole would bring back a child that an
// invalidator has emptied in between. So in two phases, with the table entry, which hardware keeps
// using, in FROZEN's role: set `collapsing`; fence; check the sequence; read the children; CAS to the
// leaf. An invalidator that meets `collapsing` on its way down takes it away before it touches a
// child, and the last CAS fails; one that passed before is seen by the check. After the flush the
// children are made DEAD, and what was dirtied through them until then is noted.
//
// Dirty (I31, I32). Whoever drops a dirty entry notes it in the log. But until the flush a TLB lets
// writes pass without a mark, so a note must not be read, and the page be copied, before the flush of
// whoever noted. So the log has two halves. Who takes entries away is in an SRCU section, and notes
// into the half that is current at its start, until it has flushed. A reader cleans every entry and
// notes; flushes; makes the other half current; waits for a grace period; reads the first half. What
// was dirty before the reading began was found by the reader itself, or by somebody for whom the
// grace period waits; what is taken after the flip is for the next reading. (Both halves are read in
// turn, each in this way: what an earlier reading of another range left may be in either.)
#pragma once

#include "mmu/install.hpp"
#include "mmu/stage2/table_page.hpp"

#include <cstdint>

namespace slat::mmu::stage2 {

template <class A> using EntryOf = typename A::template atomic<std::uint64_t>;

/// Replaces what is in the entry by `to` (absent, or DEAD), tables and FROZEN included; `note(old)`
/// is called before for every value that it may replace. Returns what was there. DEAD stays.
template <class A, class Note>
std::uint64_t take_entry(EntryOf<A>& entry, std::uint64_t to, Note note) {
  std::uint64_t old = entry.load(std::memory_order_acquire);
  while (old != to && !is_dead(old)) {
    note(old);
    // Release: who meets DEAD finds the table unlinked when he starts over. Acquire: a child's
    // entries, if it was a table.
    if (entry.compare_exchange_weak(old, to, std::memory_order_acq_rel, std::memory_order_acquire))
      break;
  }
  return old;
}

/// An invalidator's step for a leaf or FROZEN entry that it has read as `old`; false if it has
/// changed, and `old` is the new value then.
template <class A, class Note> bool zap_entry(EntryOf<A>& entry, std::uint64_t& old, Note note) {
  note(old);
  // Acquire: what it is instead. Nothing to release: the range keeps faults out until its end.
  return entry.compare_exchange_strong(old, absent_entry, std::memory_order_acquire,
                                       std::memory_order_acquire);
}

/// An invalidator's step for a table entry that it goes down through: no collapse that has not
/// finished yet will. `value` is what it has read, and has the new value afterwards.
template <class A> void stop_collapse(EntryOf<A>& entry, std::uint64_t& value) {
  while ((value & collapsing_bit) != 0)
    // Acquire, should it be something else by now. Nothing to release.
    if (entry.compare_exchange_weak(value, value & ~collapsing_bit, std::memory_order_acquire,
                                    std::memory_order_acquire)) {
      value &= ~collapsing_bit;
      return;
    }
}

/// `child` maps the same as `leaf`, one level below. Private: no order needed.
template <class F, class A>
void fill_child(TablePage<F, A>& child, std::uint64_t leaf, unsigned level) {
  for (unsigned i = 0; i < F::fan_out; ++i)
    child.entries[i].store(F::part(leaf, level, i), std::memory_order_relaxed);
}

/// Links a private table over `old`: absent, or a leaf by which it was filled.
template <class F, class A>
[[nodiscard]] bool link_table(EntryOf<A>& entry, std::uint64_t old, const TablePage<F, A>& child) {
  // Release: the child's entries. Pairs with the acquire of every walk.
  return entry.compare_exchange_strong(old, F::table(address_of(child)), std::memory_order_release,
                                       std::memory_order_relaxed);
}

/// A leaf's replacement by one that differs in its flags. `note` if it drops dirtiness.
template <class A>
[[nodiscard]] bool change_leaf(EntryOf<A>& entry, std::uint64_t& old, std::uint64_t to) {
  // Acquire: what it is instead. Nothing to release: the page behind the leaf was released by the
  // install, and a read-modify-write carries that on.
  return entry.compare_exchange_strong(old, to, std::memory_order_acquire,
                                       std::memory_order_acquire);
}

enum class CollapseOutcome {
  collapsed,
  not_alike,   // the children are not leaves, in a row, with the same permissions
  moved,       // a range ended since the snapshot, or an invalidator came by
  in_progress, // a range in progress covers a part of it
};

/// The leaf of `level` that maps what the child maps, young if any part is; 0 if there is none. It is
/// clean: which parts are dirty is noted, one by one, once they can no longer become so.
template <class F, class A>
[[nodiscard]] std::uint64_t whole_leaf(const TablePage<F, A>& child, unsigned level) {
  const std::uint64_t first = child.entries[0].load(std::memory_order_acquire);
  if (!F::is_leaf(first, level - 1)) return 0;
  std::uint64_t history = F::history(first);
  const std::uint64_t plain = first ^ history;
  for (unsigned i = 1; i < F::fan_out; ++i) {
    const std::uint64_t part = child.entries[i].load(std::memory_order_acquire);
    if (!F::is_leaf(part, level - 1)) return 0;
    if ((part ^ F::history(part)) != plain + i * F::span(level - 1)) return 0;
    history |= F::history(part);
  }
  const std::uint64_t whole = F::cleaned(F::whole(plain, level) | history);
  return (whole & F::reserved(whole, level)) == 0 ? whole : 0;
}

/// Turns a table entry of `level` into one leaf, which `leaf` is then. `snapshot` of `seq` is from
/// before the caller looked at the table; [start, end) is what the entry maps, as `seq` counts it. One
/// at a time, and no cleaning meanwhile: the caller's mutex. In an RCU section. On success the caller
/// flushes, then makes the child DEAD.
template <class F, class A, class Seq>
[[nodiscard]] CollapseOutcome collapse_entry(EntryOf<A>& entry, std::uint64_t table, unsigned level,
                                             const Seq& seq, std::uint64_t snapshot,
                                             std::uint64_t start, std::uint64_t end,
                                             std::uint64_t& leaf) {
  std::uint64_t expected = table;
  const std::uint64_t marked = table | collapsing_bit;
  // Relaxed: publishes nothing but the intent, which the fence orders before the check.
  if (!entry.compare_exchange_strong(expected, marked, std::memory_order_relaxed,
                                     std::memory_order_relaxed))
    return CollapseOutcome::moved;
  A::fence(); // pairs with the fence in InvalidateSeq::begin()
  const Staleness staleness = seq.stale(snapshot, start, end);
  leaf = staleness == Staleness::fresh ? whole_leaf(*page_of<F, A>(table), level) : 0;
  expected = marked;
  const std::uint64_t next = leaf != 0 ? leaf : table;
  // Release: the content behind the leaf, which the children's loads have acquired.
  const bool kept = entry.compare_exchange_strong(expected, next, std::memory_order_release,
                                                  std::memory_order_relaxed);
  if (staleness == Staleness::in_progress) return CollapseOutcome::in_progress;
  if (staleness == Staleness::moved || !kept) return CollapseOutcome::moved;
  return leaf != 0 ? CollapseOutcome::collapsed : CollapseOutcome::not_alike;
}

} // namespace slat::mmu::stage2
