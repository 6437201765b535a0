// Stage2Table: slat's own second-level translation table, guest-physical to host addresses.
//
// The fault path takes no lock: map() walks under RCU and installs in two phases; translate() is what
// hardware does. Everything else may run at the same time as faults, accesses and each other:
//
//   zap, protect_range           by an invalidator, inside its range: InvalidateSeq::begin() comes first
//   split_range, age             any time
//   for_each_leaf                any time; changes nothing
//   collapse, read_dirty         any time; they take turns by a mutex
//   invalidate_root              any time
//
// What each may do to an entry, and why that is right, is in protocol.hpp.
//
// A method that takes something away flushes before it returns, whether or not it found anything:
// what another thread has taken away and not flushed yet is not to be seen any more (I27). It never
// holds the RCU section across a flush, and yields only after one (I28).
//
// Host addresses are whatever the user's walker understands: for a software vCPU, host-view pointers.
// They have 52 bits at most and are page aligned.
#pragma once

#include "mmu/error.hpp"
#include "mmu/secondary_mmu.hpp"
#include "mmu/srcu.hpp"
#include "mmu/stage2/dirty_log.hpp"
#include "mmu/stage2/walker.hpp"

#include <memory>
#include <optional>
#include <span>

namespace slat::mmu::stage2 {

/// How writes are found out.
enum class DirtyTracking {
  dirty_bits,    // hardware (or the software vCPU, through access()) sets them
  write_protect, // a writable leaf counts as dirty; cleaning protects it
};

struct Stage2Options {
  std::uint64_t limit; // bytes of guest-physical addresses, page aligned, from 0
  unsigned levels = 4;
  DirtyTracking tracking = DirtyTracking::dirty_bits;
  unsigned entries_per_section = 1024; // a range walk yields after so many
};

struct Stage2Fault {
  std::uint64_t address;  // guest-physical, any byte of the page
  std::uint64_t host;     // of that page
  std::uintptr_t hva;     // of that page, as the invalidate sequence counts addresses
  Permissions allowed;    // what the mapping may be used for
  bool write = false;     // the access that faulted
  unsigned max_level = 1; // the largest leaf: all of it is present, alike, in a row, and resolved
  MemoryType type = MemoryType::write_back;
};

enum class MapOutcome {
  installed,
  present,     // somebody was there first: the access will succeed
  retry,       // lost a race: walk again
  moved,       // a range ended since the snapshot: resolve again
  in_progress, // a range in progress covers it: wait for it, then resolve again
  no_memory,
  denied, // `allowed` does not allow the access
  out_of_range,
};

struct Translation {
  std::uint64_t host; // of the very byte
  Permissions allowed;
  unsigned level; // of the leaf
  bool dirty;     // until it is, a TLB must not let writes pass by it
};

/// A leaf, or the part of one that a walk has not shown yet.
struct LeafView {
  std::uint64_t address; // guest-physical, of the first byte shown
  std::uint64_t bytes;   // from there on; span(level) where the leaf is shown whole
  std::uint64_t host;    // of the first byte shown
  unsigned level;
  Permissions allowed; // just now: one that is protected for the dirty log is not writable
  MemoryType type;
  bool accessed;
  bool dirty; // as the table's DirtyTracking has it
};

/// What a zap does with tables that map nothing any more.
enum class Tables { keep, free };

enum class Age { test, clear, clear_and_flush };

template <class F, class A = StdAtomics> class Stage2Table {
 public:
  using Page = TablePage<F, A>;
  using Entry = EntryOf<A>;

  /// `flusher` knows the addresses of this table, guest-physical; it outlives the table. May sleep.
  static Result<std::unique_ptr<Stage2Table>> create(const Stage2Options& options,
                                                     TlbFlusher& flusher);
  /// Nobody uses the table any more. Sleeps for a grace period.
  ~Stage2Table();
  Stage2Table(const Stage2Table&) = delete;
  Stage2Table& operator=(const Stage2Table&) = delete;

  // ---- faults and accesses (stage2_map.hpp)

  /// Maps the page, or the largest leaf that fits. `snapshot` of `seq` was taken before the page was
  /// resolved (I21). No lock needed or taken; may sleep for memory when a table page is missing; not
  /// in an RCU section.
  template <class Seq>
  [[nodiscard]] MapOutcome map(const Stage2Fault& fault, const Seq& seq, std::uint64_t snapshot);

  /// Looks only. No lock, does not sleep.
  [[nodiscard]] std::optional<Translation> translate(std::uint64_t address) const;

  /// What hardware does for an access: translates, and sets A, and D for a write, in the leaf. None if
  /// the leaf is missing or does not allow it: a stage-2 fault. With write_protect tracking, A only.
  /// Lock-free, does not sleep. The caller is a vCPU that flushes wait for, from before this until it has
  /// used the result (I36).
  [[nodiscard]] std::optional<Translation> access(std::uint64_t address, bool write);

  // ---- taking away (stage2_zap.hpp). May sleep; no page lock held, not in an RCU section.

  /// Unmaps [start, end), and huge leaves that reach into it as a whole; flushes. True if anything was
  /// there. `free`: tables that map nothing outside go too, after the flush and a grace period (I30).
  bool zap_range(std::uint64_t start, std::uint64_t end, Tables tables = Tables::keep);

  /// Writes to the range fault from now on, and are not simply allowed again; flushes. (For the dirty
  /// log that is read_dirty's work.)
  bool protect_range(std::uint64_t start, std::uint64_t end);

  /// Unmaps everything by a new, empty root. Nothing can be mapped into the old one once this returns
  /// (I34). no_memory: nothing has happened.
  Result<void> invalidate_root();

  // ---- sizes of leaves (stage2_reshape.hpp). May sleep; not in an RCU section.

  /// Splits the leaves above `level` that reach into the range. No translation changes (I33).
  Result<void> split_range(std::uint64_t start, std::uint64_t end, unsigned level = 1);

  /// Makes one leaf of `level` of the table that maps the part around `address`, if its entries are
  /// alike. `hva` stands behind `address`. No translation changes (I33).
  template <class Seq>
  [[nodiscard]] CollapseOutcome collapse(std::uint64_t address, std::uintptr_t hva, unsigned level,
                                         const Seq& seq) SLAT_EXCLUDES(turns_);

  // ---- what accesses leave behind (stage2_dirty.hpp)

  /// The pages of [start, end) written since the last call: a bit each, from `start`, which is aligned
  /// to 64 pages, as is `end`; `bits` has room for them. Every write is in one call or the next (I32).
  /// Cleans, flushes, then reads. May sleep; not in an RCU section.
  void read_dirty(std::uint64_t start, std::uint64_t end, std::span<std::uint64_t> bits)
      SLAT_EXCLUDES(turns_);

  /// True if anything in the range was accessed since the last clearing. No lock. `test` does not
  /// sleep but for yielding; `clear` without a flush may miss accesses that a TLB has cached.
  bool age(std::uint64_t start, std::uint64_t end, Age how);

  // ---- looking at all of it (stage2_visit.hpp)

  /// Calls `visit(const LeafView&)` for the leaves of [start, end), ascending, no address twice: of a
  /// leaf that reaches out of the range, or that was collapsed behind the walk, only the rest is shown.
  /// Each is shown as it was at some moment of the call, which is not the same moment for all; one that
  /// is just being installed may be missed. Changes nothing, allocates nothing, takes no lock; not in an
  /// RCU section. `visit` is called outside of the walk's sections: it may sleep, allocate and throw.
  template <class VisitLeaf>
  void for_each_leaf(std::uint64_t start, std::uint64_t end, VisitLeaf visit) const;

  // ---- for hardware and the checker

  [[nodiscard]] const Page& root() const { return *root_.load(std::memory_order_acquire); }

  [[nodiscard]] const Stage2Options& options() const { return options_; }

  /// Table pages that exist, dead ones that wait for their grace period included.
  [[nodiscard]] std::uint64_t table_pages() const { return pool_.live(); }

  /// Sleeps until the dead ones are freed.
  void drain() { pool_.drain(); }

 private:
  Stage2Table(const Stage2Options& options, TlbFlusher& flusher)
      : options_(options), flusher_(&flusher) {}

  [[nodiscard]] Page* root_page() const {
    return root_.load(std::memory_order_acquire); // pairs with the exchange of invalidate_root()
  }

  /// Whether dirtiness would be lost with a leaf.
  [[nodiscard]] bool is_dirty(std::uint64_t entry, unsigned level) const {
    if (!F::is_leaf(entry, level)) return false;
    return options_.tracking == DirtyTracking::dirty_bits ? F::dirty(entry) : F::writable(entry);
  }

  /// Before the entry is replaced. FROZEN may stand for a dirty leaf that is being allowed more.
  void note_dirty(unsigned half, std::uint64_t entry, unsigned level, std::uint64_t address) {
    if (is_dirty(entry, level) || is_frozen(entry))
      log_.note(half, (address & ~(F::span(level) - 1)) >> F::shift(1),
                F::span(level) >> F::shift(1));
  }

  /// Makes all entries of an unlinked page and of the tables below DEAD, notes what was dirty, and
  /// puts the pages before `dead`.
  void kill(unsigned half, Page& page, unsigned level, std::uint64_t address, Page*& dead);

  [[nodiscard]] unsigned largest_leaf(const Stage2Fault& fault) const;
  template <class Seq>
  MapOutcome install_leaf(const Cursor<F, A>& at, const Stage2Fault& fault, const Seq& seq,
                          std::uint64_t snapshot);
  template <class Seq>
  std::optional<MapOutcome> use_leaf(const Cursor<F, A>& at, unsigned target,
                                     const Stage2Fault& fault, const Seq& seq,
                                     std::uint64_t snapshot);

  bool unlink_tables(unsigned half, std::uint64_t start, std::uint64_t end, unsigned level);
  void flush(std::uint64_t start, std::uint64_t end);

  template <class VisitEntry, class BeforeYield>
  void walk_range(std::uint64_t start, std::uint64_t end, unsigned target, bool stop_collapses,
                  VisitEntry visit, BeforeYield before_yield) {
    for_each_entry<F, A>(
        {.levels = options_.levels,
         .target = target,
         .entries_per_section = options_.entries_per_section,
         .stop_collapses = stop_collapses},
        [this] { return root_page(); }, start, std::min(end, options_.limit), visit, before_yield);
  }

  /// Between two sections of a walk that owes no flush.
  static void yield(std::uint64_t) { mmu::between_sections(); }

  const Stage2Options options_;
  TlbFlusher* const flusher_;
  typename A::template atomic<Page*> root_{nullptr};
  TablePool<F, A> pool_;
  DirtyLog<A> log_;
  Srcu takers_; // sections: from before something dirty is taken until after its flush
  Mutex turns_{LockRank::stage2}; // of those who collapse and those who clean (protocol.hpp)
};

} // namespace slat::mmu::stage2

#include "mmu/stage2/stage2_map.hpp"

namespace slat::mmu {
using stage2::MapOutcome;
using stage2::Stage2Fault;
using stage2::Stage2Options;
using stage2::Stage2Table;
} // namespace slat::mmu
