// Migrations: pages of guest RAM on their way to spare places of their memfd, and home again. What is away is remembered, so
// that the map does not end as one VMA for each page.
#pragma once

#include "vmm/machine.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace slat::vmm {

class Migrations {
 public:
  /// `machine` outlives it.
  explicit Migrations(Machine& machine) : machine_(&machine) {}

  /// Sends `count` pages from page `first` of a region away, or as many of them as may go; where none may, or nothing is
  /// spare, what has been away longest comes home. As Machine::migrate(). Errors: its; invalid_argument without spare
  /// memory.
  Result<void> step(std::size_t region, std::uint64_t first, std::uint64_t count);

  /// All of it.
  Result<void> bring_home();

  [[nodiscard]] std::size_t away() const { return away_.size(); }

 private:
  struct Away {
    std::size_t region;
    std::uint64_t first; // page of the region, and of its memfd at home
    std::uint64_t count;
    std::uint64_t place; // page of the memfd
  };

  static constexpr std::size_t most_away = 8;

  Result<void> bring_first_home();
  Result<void> migrate(const Away& pages, std::uint64_t place);
  /// Pages of [first, first + count) before those that are away already.
  [[nodiscard]] std::uint64_t at_home(std::size_t region, std::uint64_t first,
                                      std::uint64_t count) const;
  [[nodiscard]] std::optional<std::uint64_t> spare_place(std::size_t region,
                                                         std::uint64_t count) const;

  Machine* machine_;
  std::deque<Away> away_; // oldest first
};

} // namespace slat::vmm
