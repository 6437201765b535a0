// MmuGather: pages that an unmap or discard has cut off, on their way out. Flush first, free later
// (I27), by type: only a flush makes the FlushedPages that can be freed, and both objects abort if
// they are dropped unfinished.
#pragma once

#include "mmu/backing.hpp"
#include "mmu/counters.hpp"
#include "mmu/secondary_mmu.hpp"

#include <span>
#include <vector>

namespace slat::mmu {

/// What may be freed now, because nobody can reach it any more.
class [[nodiscard]] FlushedPages {
 public:
  FlushedPages(FlushedPages&& other) noexcept;
  FlushedPages(const FlushedPages&) = delete;
  FlushedPages& operator=(const FlushedPages&) = delete;
  FlushedPages& operator=(FlushedPages&&) = delete;
  ~FlushedPages();

  enum class Content { unmapped, removed }; // unmapped: a shared file keeps it

  /// Gives the pages back to the host, or their slots back to the store, and empties their page words. Where the host refuses, they are
  /// zeroed instead and only the memory is not won back (unfreed_pages). May sleep; no page lock held,
  /// and the VMAs are write-locked or gone, so that nobody fills a page meanwhile.
  void free(Content content = Content::unmapped);

  /// Nothing is freed: the pages keep their data (zap).
  void keep() { finished_ = true; }

 private:
  friend class MmuGather;

  struct Run {
    Backing* backing;
    PageRun pages;
  };

  FlushedPages(std::vector<Run> runs, Counters& counters)
      : runs_(std::move(runs)), counters_(&counters) {}

  std::vector<Run> runs_;
  Counters* counters_;
  bool finished_ = false;
};

class MmuGather {
 public:
  /// Of [start, end) in the guest view. `flushers` outlive it. Makes room for `expected` runs: throws
  /// std::bad_alloc, which add() of that many then does not.
  MmuGather(std::span<TlbFlusher* const> flushers, Counters& counters, std::uintptr_t start,
            std::uintptr_t end, std::size_t expected = 0)
      : flushers_(flushers), counters_(&counters), start_(start), end_(end) {
    runs_.reserve(expected);
  }

  MmuGather(const MmuGather&) = delete;
  MmuGather& operator=(const MmuGather&) = delete;
  ~MmuGather();

  /// Pages that were cut off. Their backing has a reference until FlushedPages is finished.
  void add(Backing& backing, PageRun pages) { runs_.push_back({&backing, pages}); }

  /// Flushes every TLB that may hold a translation of the range. Once. May sleep; no page lock
  /// held.
  [[nodiscard]] FlushedPages flush();

 private:
  std::span<TlbFlusher* const> flushers_;
  Counters* counters_;
  std::uintptr_t start_;
  std::uintptr_t end_;
  std::vector<FlushedPages::Run> runs_;
  bool flushed_ = false;
};

} // namespace slat::mmu
