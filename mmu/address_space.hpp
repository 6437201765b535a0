// AddressSpace: the guest views of one machine (the kernel's mm_struct): VMAs, the mm lock, the
// notifier chain.
//
// Lock order, outermost first:  mm lock > VMA locks > notifier chain (gate, SRCU section) > page
// locks. A fault takes a VMA read lock without the mm lock and drops it before anything that sleeps;
// a page lock is taken by try-lock while another lock is held. No callback runs under a page lock.
#pragma once

#include "mmu/counters.hpp"
#include "mmu/mm_lock.hpp"
#include "mmu/mmu_gather.hpp"
#include "mmu/notifier.hpp"
#include "mmu/type_stable_cache.hpp"
#include "mmu/vma.hpp"
#include "mmu/vma_tree.hpp"

#include <cstdint>
#include <vector>

namespace slat::mmu {

using VmaCache = TypeStableCache<Vma>;

struct MapRequest {
  std::uintptr_t address = 0; // 0: anywhere; else exactly here, refused with Errc::exists if taken
  std::uint64_t length = 0;   // bytes, page aligned, not 0
  std::uint32_t flags = vm_read | vm_write;
  Backing* backing = nullptr;        // gets a reference
  std::uint64_t pgoff = 0;           // first page of the backing
  std::size_t alignment = page_size; // for "anywhere"; a power of two
};

enum class Advice {
  dontneed, // out of the guest view and every secondary MMU; the data stays and comes back with the
            // next fault
  remove,   // the same, and the data is given back to the host: reads as the source fills it
            // afterwards
};

/// What happened to one attempt to lock a VMA for reading.
struct VmaTicket {
  Vma* vma = nullptr;

  explicit operator bool() const { return vma != nullptr; }
};

class AddressSpace {
 public:
  /// The cache and the counters outlive it.
  AddressSpace(VmaCache& cache, Counters& counters);
  /// Tells subscribers, unmaps everything. No fault and no range is in progress and none will come.
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // ---- host-side changes. All may sleep; no mmu lock may be held. All or nothing.

  /// Maps a part of a backing into the guest view; returns where. Nothing is populated.
  Result<std::uintptr_t> map(const MapRequest& request) SLAT_EXCLUDES(mm_lock_);

  /// Unmaps [address, address + length), splitting VMAs at its ends, and frees its pages. Holes are
  /// fine (munmap). Where the host will not take pages back the range is unmapped all the same, and
  /// the error is returned.
  Result<void> unmap(std::uintptr_t address, std::uint64_t length) SLAT_EXCLUDES(mm_lock_);

  /// Errc::not_mapped if the range has a hole, and then nothing is done. See Advice.
  Result<void> advise(std::uintptr_t address, std::uint64_t length, Advice advice)
      SLAT_EXCLUDES(mm_lock_);

  // ---- looking up, for faults

  /// The VMA at `address` with its read lock, found under RCU without the mm lock
  /// (lock_vma_under_rcu). Empty if there is none, or if a writer is about: then look under the mm
  /// lock. Does not sleep.
  [[nodiscard]] VmaTicket lock_vma_under_rcu(std::uintptr_t address);

  /// The same by way of the mm read lock, which is dropped again. Empty if nothing is mapped there.
  /// May sleep; no VMA or page lock held.
  [[nodiscard]] VmaTicket lock_vma_under_mm_lock(std::uintptr_t address) SLAT_EXCLUDES(mm_lock_);

  /// Puts the VMA's read lock.
  static void vma_end_read(VmaTicket ticket) { ticket.vma->lock.vma_end_read(); }

  /// Backings that a fault in progress may use outlive a section of this domain (I16).
  [[nodiscard]] Srcu& fault_srcu() { return fault_srcu_; }

  [[nodiscard]] NotifierChain& notifiers() { return notifiers_; }

  [[nodiscard]] Counters& counters() { return *counters_; }

  /// Before the first fault: whatever caches translations of this address space.
  void add_tlb_flusher(TlbFlusher& flusher) { flushers_.push_back(&flusher); }

  struct VmaInfo {
    std::uintptr_t start, end;
    std::uint64_t pgoff;
    std::uint32_t flags;
  };

  /// A copy of the map, ascending. Takes the mm read lock.
  [[nodiscard]] std::vector<VmaInfo> vmas() SLAT_EXCLUDES(mm_lock_);

 private:
  static Result<void> check_range(std::uintptr_t address, std::uint64_t length);
  [[nodiscard]] Vma* new_vma(std::uintptr_t start, std::uintptr_t end, const Vma& like)
      SLAT_REQUIRES(mm_lock_);
  void attach(Vma& vma) SLAT_REQUIRES(mm_lock_);
  void detach_and_free(std::span<Vma* const> vmas) SLAT_REQUIRES(mm_lock_);
  void put_unused(std::span<Vma* const> vmas);
  Result<void> unmap_locked(std::uintptr_t start, std::uintptr_t end) SLAT_REQUIRES(mm_lock_);
  void wait_for_page_owners(Backing& backing, PageRun run, bool fillers_too, std::uint64_t clear);

  VmaCache* cache_;
  Counters* counters_;
  MmShared* shared_; // outlives this object while a reader has it pinned (I05)
  MmLock mm_lock_;
  VmaTree tree_;
  NotifierChain notifiers_;
  Srcu fault_srcu_;
  std::vector<TlbFlusher*> flushers_; // written before the first fault
};

} // namespace slat::mmu
