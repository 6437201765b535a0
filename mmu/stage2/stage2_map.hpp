// Faults and accesses of a Stage2Table: the lockless half. Included by stage2_table.hpp.
#pragma once

#include "mmu/stage2/stage2_table.hpp"

namespace slat::mmu::stage2 {

template <class F, class A>
template <class Seq>
MapOutcome Stage2Table<F, A>::map(const Stage2Fault& fault, const Seq& seq,
                                  std::uint64_t snapshot) {
  if (fault.address >= options_.limit) return MapOutcome::out_of_range;
  if (!fault.allowed.read || (fault.write && !fault.allowed.write)) return MapOutcome::denied;
  const unsigned target = fault.max_level == 1 ? 1 : largest_leaf(fault);
  Page* spare = nullptr; // a child for the next entry that lacks one
  for (;;) {
    std::optional<MapOutcome> outcome;
    {
      const rcu::ReadGuard section;
      Cursor<F, A> at = walk_down<F, A>(root_page(), options_.levels, fault.address, target);
      if (F::is_table(at.value, at.level)) // smaller leaves are there already
        at = walk_down<F, A>(page_of<F, A>(at.value), at.level - 1, fault.address, 1);
      for (;;) {
        if (is_frozen(at.value) || is_dead(at.value)) {
          outcome = MapOutcome::retry;
        } else if (at.value != absent_entry) {
          outcome = use_leaf(at, target, fault, seq, snapshot);
        } else if (at.level <= target) {
          outcome = install_leaf(at, fault, seq, snapshot);
        }
        if (!outcome && spare != nullptr) { // a level below is missing, or to be split off
          if (F::present(at.value)) fill_child<F, A>(*spare, at.value, at.level);
          if (link_table<F, A>(*at.entry, at.value, *spare)) {
            at = walk_down<F, A>(spare, at.level - 1, fault.address, target);
            spare = nullptr;
            continue;
          }
          outcome = MapOutcome::retry; // or another fault has linked its own
        }
        break;
      }
    }
    if (outcome) {
      pool_.free_private(spare);
      return *outcome;
    }
    spare = pool_.allocate(); // may sleep: outside of the section
    if (spare == nullptr) return MapOutcome::no_memory;
  }
}

/// The level of the largest leaf that both addresses are aligned for, and that ends below the limit.
template <class F, class A>
unsigned Stage2Table<F, A>::largest_leaf(const Stage2Fault& fault) const {
  unsigned level = std::min({fault.max_level, F::max_leaf_level, options_.levels});
  while (level > 1 && (((fault.address ^ fault.host) & (F::span(level) - F::span(1))) != 0 ||
                       (fault.address | (F::span(level) - 1)) >= options_.limit))
    --level;
  return level;
}

/// Over an absent entry.
template <class F, class A>
template <class Seq>
MapOutcome Stage2Table<F, A>::install_leaf(const Cursor<F, A>& at, const Stage2Fault& fault,
                                           const Seq& seq, std::uint64_t snapshot) {
  const std::uint64_t span = F::span(at.level);
  const std::uint64_t offset = fault.address & (span - F::span(1));
  std::uint64_t leaf = F::leaf(fault.host - offset, at.level, fault.allowed, fault.type);
  const std::uint64_t old = at.value;
  if (F::present(old)) leaf |= F::history(old);
  const std::uintptr_t start = fault.hva - offset;
  switch (
      install_entry<A>(*at.entry, old, frozen_entry(), leaf, seq, snapshot, start, start + span)) {
  case InstallOutcome::installed:
    return MapOutcome::installed;
  case InstallOutcome::lost:
    return MapOutcome::retry;
  case InstallOutcome::moved:
    return MapOutcome::moved;
  case InstallOutcome::in_progress:
    return MapOutcome::in_progress;
  }
  return MapOutcome::retry;
}

/// A leaf is there: it is enough, or may become so. Nothing: it is to be split first.
template <class F, class A>
template <class Seq>
std::optional<MapOutcome> Stage2Table<F, A>::use_leaf(const Cursor<F, A>& at, unsigned target,
                                                      const Stage2Fault& fault, const Seq& seq,
                                                      std::uint64_t snapshot) {
  const std::uint64_t offset = fault.address & (F::span(at.level) - F::span(1));
  if (F::address(at.value) + offset != (fault.host & ~(F::span(1) - 1)))
    return MapOutcome::retry; // one of the two is out of date: a range will tell which
  const Permissions has = F::permissions(at.value);
  const bool enough = (!fault.write || has.write) && (!fault.allowed.execute || has.execute);
  if (enough) return MapOutcome::present;
  if (fault.write && (at.value & may_write_bit) != 0 && (!fault.allowed.execute || has.execute)) {
    // Protected for the dirty log only: the entry itself says that writes are allowed, now. (The
    // kernel's fast_page_fault.)
    std::uint64_t old = at.value;
    return change_leaf<A>(*at.entry, old, F::write_enabled(old)) ? MapOutcome::installed
                                                                 : MapOutcome::retry;
  }
  if (at.level > target) return std::nullopt; // more than the fault has resolved
  return install_leaf(at, fault, seq, snapshot);
}

template <class F, class A>
std::optional<Translation> Stage2Table<F, A>::translate(std::uint64_t address) const {
  if (address >= options_.limit) return std::nullopt;
  const rcu::ReadGuard section;
  const auto at = walk_down<F, A>(root_page(), options_.levels, address, 1);
  if (!F::is_leaf(at.value, at.level)) return std::nullopt;
  return Translation{F::address(at.value) + (address & (F::span(at.level) - 1)),
                     F::permissions(at.value), at.level, is_dirty(at.value, at.level)};
}

template <class F, class A>
std::optional<Translation> Stage2Table<F, A>::access(std::uint64_t address, bool write) {
  if (address >= options_.limit) return std::nullopt;
  const rcu::ReadGuard section;
  auto at = walk_down<F, A>(root_page(), options_.levels, address, 1);
  const bool set_dirty = write && options_.tracking == DirtyTracking::dirty_bits;
  for (;;) {
    if (!F::is_leaf(at.value, at.level)) { // or a table, if it has been split: a fault sorts it out
      if (!F::is_table(at.value, at.level)) return std::nullopt;
      at = walk_down<F, A>(page_of<F, A>(at.value), at.level - 1, address, 1);
      continue;
    }
    if (write && !F::writable(at.value)) return std::nullopt;
    const std::uint64_t used = F::used(at.value, set_dirty);
    // Nothing to release: that D is set before the write is seen is the flush's business. Acquire:
    // what is found instead.
    if (used == at.value ||
        at.entry->compare_exchange_weak(at.value, used, std::memory_order_acquire,
                                        std::memory_order_acquire))
      return Translation{F::address(used) + (address & (F::span(at.level) - 1)),
                         F::permissions(used), at.level, is_dirty(used, at.level)};
  }
}

} // namespace slat::mmu::stage2
