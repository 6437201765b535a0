// The rounds of a benchmark: each of its cells runs once in each round.
#pragma once

#include "vmm/error.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace slat::tool {

struct Rounds {
  unsigned measured;
  bool warm_up = true;   // with a round 0 before them, of which nothing is kept
  bool alternate = true; // every other round backwards, so that a drift of the machine cancels out
};

/// Calls run(cell, keep) with 0 to cells - 1, round by round, and shows `name(cell)` beside the round on a progress line;
/// `keep` is false in the round that warms up. Ends with the first error of run(), or with the error "interrupted" once
/// the user has asked for an end (pending_signal()); what was kept by then stays. On the main thread.
vmm::Result<void>
measure_rounds(const Rounds& rounds, std::size_t cells,
               const std::function<std::string(std::size_t cell)>& name,
               const std::function<vmm::Result<void>(std::size_t cell, bool keep)>& run);

/// The same with cells that know their name: run(Cell&, keep).
template <class Cell, class Run>
vmm::Result<void> measure_rounds(const Rounds& rounds, std::vector<Cell>& cells, Run run) {
  return measure_rounds(
      rounds, cells.size(), [&](std::size_t cell) { return cells[cell].name(); },
      [&](std::size_t cell, bool keep) { return run(cells[cell], keep); });
}

} // namespace slat::tool
