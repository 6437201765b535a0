// Storm: a host that does to guest memory while the guest runs what reclaim, balloons, migration and their like do.
// Every byte must be there whenever the guest looks.
#pragma once

#include "mmu/address_space.hpp"
#include "vmm/error.hpp"
#include "vmm/machine.hpp"
#include "vmm/migrations.hpp"
#include "vmm/write_audit.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace slat::vmm {

enum class StormKind : unsigned {
  zap,      // out of the guest view and every stage-2; the data stays
  pageout,  // the same, and the host is asked to reclaim it
  cold,     // not accessed lately: the aging bits are cleared
  reclaim,  // compressed into a store, and the memory given back; a store that is full is no error
  discard,  // pages that the guest gives up are removed (GivenUpPages); takes a guest that does
  notifier, // subscribers come and go, and sleep in their callbacks
  slots,    // a memory slot in use is deleted and added again
  move,     // a memory slot's guest view goes to another address
  migrate, // pages go to another place of their memfd, and come back; takes spare memory (MachineConfig)
  readonly, // nobody may write there for some milliseconds
  protect, // writes are tracked for some milliseconds: who writes is noted, and goes on; see WriteAudit
  dirty,    // our stage-2: the dirty log is read and cleaned
  split,    // our stage-2: huge leaves become small ones
  collapse, // our stage-2: small leaves become huge ones, where they can
  last_,
};

inline constexpr std::size_t storm_kinds = std::size_t(StormKind::last_);

[[nodiscard]] std::string_view name(StormKind kind);

/// By its name; empty if there is none such.
[[nodiscard]] std::optional<StormKind> storm_kind(std::string_view name);

/// Whether it takes our own stage-2 (SoftMemory).
[[nodiscard]] constexpr bool needs_soft_memory(StormKind kind) {
  return kind >= StormKind::dirty;
}

[[nodiscard]] constexpr bool needs_given_up_pages(StormKind kind) {
  return kind == StormKind::discard;
}

/// What a guest that knows its host has given up: a balloon, or free page reporting.
class GivenUpPages {
 public:
  virtual ~GivenUpPages() = default;

  struct Page {
    Gpa gpa;             // page aligned; any value, for it is the guest's word
    std::uint64_t token; // for acknowledge()
  };

  /// Appends the pages that are given up and not acknowledged. May sleep; no range, pin or lock is held.
  virtual Result<void> collect(std::vector<Page>& pages) = 0;
  /// The page has been removed: from here on the guest relies on its being zero (I39). The same.
  virtual Result<void> acknowledge(const Page& page) = 0;
};

struct StormOptions {
  std::uint64_t seed = 1;
  unsigned rate = 1000;             // ranges a second, of all kinds together
  std::uint64_t max_pages = 512;    // of one range; sizes are log-uniform from 1
  GivenUpPages* given_up = nullptr; // outlives the storm; for `discard`
  std::uint64_t store_limit = 0;    // bytes for `reclaim`, see GuestRam::make_store()
  std::vector<StormKind> kinds = {
      StormKind::zap}; // each range is of one of them, by chance; not empty
};

class Storm {
 public:
  /// Starts at once, and sees to it that the RAM has a store if a kind needs one. The machine outlives it, and has its own
  /// stage-2 if a kind needs that.
  Storm(Machine& machine, const StormOptions& options);
  /// Ends and joins.
  ~Storm();
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;

  /// Ranges done so far, of all kinds or of one.
  [[nodiscard]] std::uint64_t ranges() const;

  [[nodiscard]] std::uint64_t ranges(StormKind kind) const {
    return counts_[std::size_t(kind)].load(std::memory_order_relaxed); // a sum
  }

  /// Pages removed because the guest had given them up.
  [[nodiscard]] std::uint64_t discarded_pages() const {
    return discarded_.load(std::memory_order_relaxed); // a sum
  }

  /// Pages whose writes were tracked, that nobody wrote, and that held what they had held.
  [[nodiscard]] std::uint64_t unwritten_pages() const {
    return unwritten_.load(std::memory_order_relaxed); // a sum
  }

  /// An error has ended it: finish() says which. Any thread.
  [[nodiscard]] bool has_failed() const {
    return failed_.load(std::memory_order_relaxed); // finish() joins
  }

  /// Ends the storm, and gives the error that had ended it before; empty if there was none.
  [[nodiscard]] const std::string& finish();

 private:
  struct Range {
    std::size_t index; // of the region
    const GuestRam::Region* region;
    std::uint64_t first; // page of the region
    std::uint64_t count;

    [[nodiscard]] std::uintptr_t view() const {
      return region->guest_view + (first << mmu::page_shift);
    }

    [[nodiscard]] Gpa gpa() const { return region->gpa.start + (first << mmu::page_shift); }

    [[nodiscard]] std::uint64_t bytes() const { return count << mmu::page_shift; }
  };

  class Sleeper;

  void run();
  [[nodiscard]] Range pick(std::mt19937_64& random) const;
  using Outcome = tl::expected<void, std::string>; // what went wrong

  Outcome act(StormKind kind, const Range& range, std::mt19937_64& random);
  mmu::Result<void> come_and_go(std::mt19937_64& random);
  Outcome make_read_only(const Range& range, std::mt19937_64& random);
  /// Gives back what has been read-only for long enough, or all of it.
  Outcome give_back(bool all);
  Outcome end_tracking(bool all);
  /// Both.
  Outcome end_what_is_due(bool all);
  void read_dirty(const Range& range);
  Outcome discard();

  Machine* machine_;
  GuestRam* ram_;
  SoftMemory* memory_; // nullptr: the stage-2 is KVM's
  const StormOptions options_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  std::array<std::atomic<std::uint64_t>, storm_kinds> counts_{};
  std::atomic<std::uint64_t> discarded_{0};
  std::atomic<std::uint64_t> unwritten_{0};
  std::vector<GivenUpPages::Page> given_up_;       // of the thread
  std::string error_;                              // written by the thread, read after the join
  std::vector<std::unique_ptr<Sleeper>> sleepers_; // of the thread
  std::vector<std::uint64_t> dirty_bits_;          // the same

  struct ReadOnly {
    GpaRange range;
    std::chrono::steady_clock::time_point until;
  };

  std::vector<ReadOnly> read_only_; // the same
  WriteAudit audit_;                // the same
  Migrations migrations_;           // the same
  std::thread thread_;
};

} // namespace slat::vmm
