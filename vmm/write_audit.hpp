// WriteAudit: what proves that write tracking misses nothing. It remembers what pages held when tracking began; a page
// that nobody is said to have written must still hold it.
#pragma once

#include "vmm/guest_ram.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace slat::vmm {

class WriteAudit {
 public:
  using Clock = std::chrono::steady_clock;

  /// `ram` outlives it.
  explicit WriteAudit(GuestRam& ram) : ram_(&ram) {}

  /// Tracks the writes to `range` (page aligned, of one region) until finish() finds that `until` has passed. What
  /// overlaps it is finished first: a page has one tracker. Errors: a line.
  tl::expected<void, std::string> begin(const GpaRange& range, Clock::time_point until);

  /// Looks at those whose time has come, or at all; a line for the first page that was written and not told.
  tl::expected<void, std::string> finish(bool all);

  /// Pages so far that nobody had written, and held what they held.
  [[nodiscard]] std::uint64_t unwritten_pages() const { return unwritten_pages_; }

 private:
  struct Tracked {
    GpaRange range;
    Clock::time_point until;
    std::vector<std::optional<std::size_t>> hashes; // by page; empty: not tracked
  };

  static constexpr std::size_t most_tracked = 8;

  [[nodiscard]] std::optional<std::size_t> hash_of(Gpa page);
  tl::expected<void, std::string> end(const Tracked& tracked);

  GuestRam* ram_;
  std::vector<Tracked> tracked_;
  std::uint64_t unwritten_pages_ = 0;
};

} // namespace slat::vmm
