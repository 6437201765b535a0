// A counter that all vCPUs advance with locked instructions, and what one of them may say of it.
// Freestanding.
//
// One cell of 512 bytes: word 0 the counter, word 1 its label. The counter only grows, so what a
// vCPU sees must never be below what it has seen; at the end it must be the sum of what all of them
// added.
#pragma once

#include "guests/abi.hpp"
#include "guests/memory_plan.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::guest {

inline constexpr std::size_t counter_cell_words =
    page_size / sizeof(std::uint64_t) / counters_per_page;

/// The label of the cell at guest address `address`, which tells cells apart.
[[nodiscard]] constexpr std::uint64_t counter_label(std::uint64_t address) {
  return ~address * 0x9e3779b97f4a7c15;
}

/// Where and how a cell is wrong.
struct CounterCheck {
  bool good = true;
  std::size_t word = 0;       // 0 the counter, 1 the label
  std::uint64_t expected = 0; // of the counter: at least this
  std::uint64_t found = 0;
};

inline void init_counter(std::uint64_t* cell, std::uint64_t address) {
  store_relaxed(cell[0], std::uint64_t{0});
  store_relaxed(cell[1], counter_label(address));
}

/// Adds `amount`, and checks what was there. Goes on from what was found, so that one loss is
/// reported once.
inline CounterCheck advance_counter(std::uint64_t* cell, std::uint64_t address, LedgerEntry& ledger,
                                    std::uint64_t amount) {
  CounterCheck check;
  const std::uint64_t label = load_relaxed(cell[1]);
  // Relaxed: the counter orders nothing else, and its own modification order is all that is tested.
  const std::uint64_t old = __atomic_fetch_add(cell, amount, __ATOMIC_RELAXED);
  if (label != counter_label(address)) check = {false, 1, counter_label(address), label};
  if (old < ledger.seen) check = {false, 0, ledger.seen, old};
  ledger.seen = old + amount;
  ledger.added += amount;
  return check;
}

} // namespace slat::guest
