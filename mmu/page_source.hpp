// PageSource: where the content of an empty page comes from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace slat::mmu {

class Backing;

struct PageRun {
  std::uint64_t first; // page offset in the backing
  std::size_t count;   // pages, at least 1
};

enum class FillResult {
  filled,    // every byte of every page in the run is what it should be
  no_memory, // the host is out of memory; nothing is lost, the fault may be tried again
  failed,    // the content cannot be had: the page is poisoned and never becomes zeroes (I41)
};

class PageSource {
 public:
  virtual ~PageSource() = default;
  /// Writes the pages of the run through the backing's host view. The caller owns the pages (state
  /// filling) and no lock that a sleep could hurt: no page lock ever, and no VMA lock if
  /// may_sleep(). Several runs may be filled at a time by different threads. Must not throw.
  [[nodiscard]] virtual FillResult fill(Backing& backing, PageRun run) = 0;
  /// True if fill() may wait for something other than the host's allocator (a disk, a network,
  /// another thread).
  [[nodiscard]] virtual bool may_sleep() const = 0;

  /// True if every page is filled alike, so that an empty page may become another one (migrate).
  [[nodiscard]] virtual bool is_uniform() const { return false; }

  [[nodiscard]] virtual std::string_view name() const = 0;
};

} // namespace slat::mmu
