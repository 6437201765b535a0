// AddressSpace: the guest views of one machine (the kernel's mm_struct): VMAs, the mm lock, the
// notifier chain. This is its face; AddressSpaceOf<Design> behind it is made of one of the four
// designs of vma_lock/.
//
// Lock order, outermost first:  mm lock > VMA locks > notifier chain (gate, SRCU section) > page
// locks. A fault holds a VMA without the mm lock and lets it go before anything that sleeps; a page
// lock is taken by try-lock while another lock is held. No callback runs under a page lock.
#pragma once

#include "mmu/atomics.hpp"
#include "mmu/counters.hpp"
#include "mmu/fault.hpp"
#include "mmu/host_journal.hpp"
#include "mmu/mmu_gather.hpp"
#include "mmu/notifier.hpp"
#include "mmu/vma_lock/design.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace slat::mmu {

struct AddressSpaceOptions {
  VmaLockDesign vma_lock = VmaLockDesign::vma_refcount;
  std::size_t vma_limit = 65530;  // VMAs; a change that would make more is refused
  std::uint64_t commit_limit = 0; // bytes mapped for writing; 0: none
  std::uint64_t locked_limit = 0; // bytes locked; 0: none but the host's
  std::uint64_t window = 0; // bytes of address space set aside for "anywhere"; 0: the host chooses
  std::uint64_t first_sequence = 0; // tests: where sequences start; even
  ViewGuard* guard = nullptr;       // told of every host mapping; outlives the address space
};

struct MapRequest {
  std::uintptr_t address = 0; // 0: anywhere; else exactly here, page aligned
  bool replace = false;       // unmap VMAs that are in the way; else, and if foreign: Errc::exists
  std::uint64_t length = 0;   // bytes, page aligned, not 0
  std::uint32_t flags = vm_read | vm_write;
  Backing* backing = nullptr;        // gets a reference
  std::uint64_t pgoff = 0;           // first page of the backing
  std::size_t alignment = page_size; // for "anywhere"; a power of two
};

/// mremap.
struct MoveRequest {
  std::uintptr_t address = 0;
  std::uint64_t old_length = 0; // bytes, page aligned, not 0; all of it mapped
  std::uint64_t new_length =
      0;                 // longer: more of the same backing, if address and new end are one VMA
  bool may_move = false; // if it cannot grow where it is
  std::optional<std::uintptr_t> to = {}; // exactly there; VMAs in the way are unmapped
  bool elsewhere = false;                // without `to`: to a free place, in any case
  std::size_t alignment = page_size;     // where the place is free to choose
};

enum class Advice {
  dontneed, // out of the guest view and every secondary MMU; the data stays and comes back with the
            // next fault
  remove,   // the same, and the data is given back to the host: reads as the source fills it
            // afterwards
  willneed, // filled now; not installed
  populate, // filled and installed now, into the secondary MMU that set_populate_mmu() named
  cold,     // not accessed lately: the aging bits are cleared, and the host is told
  pageout,  // out of the guest view, and the host is asked to reclaim it; the data stays
};

struct Reclaimed {
  std::uint64_t pages = 0; // that are in the store now
  bool full = false;       // the store had no room for more, and the rest was not tried
};

/// The pages at [address, address + length) go to the pages from `pgoff` of their backing.
struct MigrateRequest {
  std::uintptr_t address = 0; // page aligned
  std::uint64_t length = 0;   // bytes, page aligned, not 0; all of it mapped, from one backing
  std::uint64_t pgoff = 0;
};

struct MemoryUsage {
  std::size_t vmas = 0;
  std::uint64_t mapped_bytes = 0;
  std::uint64_t committed_bytes = 0; // mapped for writing
  std::uint64_t locked_bytes = 0;
  std::uint64_t resident_bytes =
      0; // with content in the host; whole backings, if shared with another mm
};

class AddressSpace {
 public:
  /// The counters outlive it. Errors: no_memory if the window cannot be reserved.
  static Result<std::unique_ptr<AddressSpace>> create(const AddressSpaceOptions& options,
                                                      Counters& counters);
  /// Tells subscribers, unmaps everything. No fault and no range is in progress and none will come.
  virtual ~AddressSpace() = default;
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // ---- host-side changes. All may sleep; no mmu lock may be held. All or nothing.

  /// Maps a part of a backing into the guest view; returns where. Nothing is populated. A page of a
  /// backing is mapped once at most, also if what maps it would be replaced: Errc::exists.
  virtual Result<std::uintptr_t> map(const MapRequest& request) = 0;

  /// Unmaps [address, address + length), splitting VMAs at its ends, and frees its pages. Holes are
  /// fine (munmap).
  virtual Result<void> unmap(std::uintptr_t address, std::uint64_t length) = 0;

  /// Gives [address, address + length) the access `flags` (vm_read, vm_write, vm_exec). Errc::not_mapped
  /// if the range has a hole (mprotect).
  virtual Result<void> protect(std::uintptr_t address, std::uint64_t length,
                               std::uint32_t flags) = 0;

  /// Moves, grows or shrinks a mapping; returns where it is now (mremap). Pages keep their content.
  virtual Result<std::uintptr_t> move(const MoveRequest& request) = 0;

  /// Gives pages another place in their backing, as migration gives a guest's page another frame: the content goes
  /// along, addresses and flags of the mapping stay. A mapping of the host is one to one to a VMA, so this is a change
  /// of the map, and who reads through the host's mapping (KVM) finds nothing there for a moment: it is kept out.
  /// Errors: not_mapped for a hole; exists if a page of the new place is mapped; invalid_argument beyond the backing, for
  /// several backings, or for one whose pages are not alike while they are empty (PageSource::is_uniform()) or
  /// are a file's; no_memory.
  virtual Result<void> migrate(const MigrateRequest& request) = 0;

  /// Errc::not_mapped if the range has a hole, and then nothing is done. See Advice. What is locked
  /// is neither discarded, paged out nor cold: Errc::invalid_argument. The filling ones go page by page and
  /// may end half-way, with what is filled filled.
  virtual Result<void> advise(std::uintptr_t address, std::uint64_t length, Advice advice) = 0;

  /// Puts what is present in [address, address + length) into the stores of its backings and gives the
  /// memory back to the host; the next access of a page brings it back. Neither takes the mm lock for writing
  /// nor write-locks a VMA. Best effort: what is locked (vm_locked), not mapped, busy or being changed stays
  /// as it is. Any number of threads, beside everything else. Errors: invalid_argument where a backing has no
  /// store (a shared file, say), os_failed and no_memory where the host refuses; pages reclaimed by then stay
  /// so. May sleep, for subscribers and pins; no mmu lock, range or pin is held.
  virtual Result<Reclaimed> reclaim(std::uintptr_t address, std::uint64_t length) = 0;

  /// From here on the first write to each page of [address, address + length) can be told: the pages that are
  /// present are write-protected in every view, and marked; how many those are. Best effort, as reclaim(): what is
  /// absent, busy or being changed counts as written. One user at a time for a page: to mark it again is to forget
  /// what was written before. Neither takes the mm lock for writing nor write-locks a VMA. Errors: os_failed where
  /// the host refuses; pages marked by then stay so. May sleep, for subscribers and pins; no mmu lock, range or
  /// pin is held. After UFFDIO_WRITEPROTECT, and the kernel's soft-dirty bits.
  virtual Result<std::uint64_t> track_writes(std::uintptr_t address, std::uint64_t length) = 0;

  /// Lets writes through again, and forgets. The same; waits for nobody.
  virtual Result<void> untrack_writes(std::uintptr_t address, std::uint64_t length) = 0;

  /// If the page at `address` (page aligned) has not been written since track_writes(): true, and what it holds,
  /// as of then and of now. False if it has been, or may have been; what is in `into` means nothing then. Does not
  /// sleep for pages or VMAs; may for the mm lock. No mmu lock is held.
  virtual bool read_unwritten(std::uintptr_t address, std::span<std::byte, page_size> into) = 0;

  /// Fills the range and keeps it in memory (mlock); lets it go again (munlock).
  virtual Result<void> lock(std::uintptr_t address, std::uint64_t length) = 0;
  virtual Result<void> unlock(std::uintptr_t address, std::uint64_t length) = 0;

  // ---- faults and lookups

  /// See handle_mm_fault().
  virtual FaultOutcome handle_fault(const FaultRequest& request) = 0;

  /// The VMA at `address`, held for reading, found without the mm lock (lock_vma_under_rcu). Empty if
  /// there is none, or if a writer is about: then look under the mm lock. Does not sleep, but for
  /// mmap-lock. Only inside a section of fault_srcu().
  [[nodiscard]] virtual VmaTicket lock_vma_under_rcu(std::uintptr_t address) = 0;

  /// The same by way of the mm read lock. Empty if nothing is mapped there. May sleep; no VMA or page
  /// lock held.
  [[nodiscard]] virtual VmaTicket lock_vma_under_mm_lock(std::uintptr_t address) = 0;

  /// With a page of it claimed or locked: is the VMA still as the ticket says?
  [[nodiscard]] virtual bool vma_commit(const VmaTicket& ticket) = 0;

  /// Tests: the fields of the held VMA as they are now.
  [[nodiscard]] virtual VmaView vma_now(const VmaTicket& ticket) = 0;

  /// Lets the VMA go.
  virtual void vma_end_read(const VmaTicket& ticket) = 0;

  /// A copy of the map, ascending. Takes the mm read lock.
  [[nodiscard]] virtual VmaViews vmas() = 0;

  /// Takes the mm read lock.
  [[nodiscard]] virtual MemoryUsage usage() = 0;

  [[nodiscard]] virtual VmaLockDesign vma_lock() const = 0;

  /// Backings that a fault in progress may use outlive a section of this domain (I16).
  [[nodiscard]] Srcu& fault_srcu() { return fault_srcu_; }

  [[nodiscard]] NotifierChain& notifiers() { return notifiers_; }

  [[nodiscard]] Counters& counters() { return *counters_; }

  /// Before the first fault: whatever caches translations of this address space.
  void add_tlb_flusher(TlbFlusher& flusher) { flushers_.push_back(&flusher); }

  /// Before the first use of Advice::populate.
  void set_populate_mmu(SecondaryMmu& mmu) { populate_mmu_ = &mmu; }

  /// Before that goes. Not beside a use of Advice::populate.
  void clear_populate_mmu() { populate_mmu_ = nullptr; }

 protected:
  AddressSpace(const AddressSpaceOptions& options, Counters& counters)
      : options_(options), counters_(&counters), notifiers_(counters, options.first_sequence) {}

  friend class Departure;
  /// Inside a range: sleeps until nobody locks a page of the views, or fills one, and clears flags.
  static void wait_for_page_owners(const VmaViews& views, bool fillers_too, std::uint64_t clear);

  const AddressSpaceOptions options_;
  Counters* counters_;
  NotifierChain notifiers_;
  Srcu fault_srcu_;
  std::vector<TlbFlusher*> flushers_; // written before the first fault
  SecondaryMmu* populate_mmu_ = nullptr;
  // Counts what locks memory that was not locked, before the host is asked and with the VMAs write-locked. An mlock comes
  // without a range: who holds page locks alone learns from this why the host has refused something (reclaim).
  StdAtomics::atomic<std::uint64_t> mlock_count_{0};
};

/// VMAs of a design that exist in this process, in trees and on their way out. For tests and reports.
[[nodiscard]] std::size_t live_vmas(VmaLockDesign design);

} // namespace slat::mmu
