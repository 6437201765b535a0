// The four designs by name, and what each of them has to offer.
//
// A design is an object, one for each address space, that holds the mm lock, the tree of VMAs and
// whatever the design needs besides; AddressSpaceOf<Design> and the fault path are templates over
// it.
//   readers, the fault path
//     begin(address)         finds and holds the VMA at `address` without the mm lock, if the design
//                            can; empty if there is none or if a writer is about. Does not sleep
//                            (but for mmap-lock, which has nothing else than its lock)
//     try_begin(address)     the same, and never sleeps; begin() itself where that does not
//     begin_locked(address)  the same by way of the mm read lock; empty only if nothing is mapped
//     commit(ticket)         under the claim or lock of a page of it: still as it was when begun?
//     end(ticket)            lets it go
//   writers, under the mm write lock
//     write_begin(), write_end()   around all that the holder does; write_end() unlocks every VMA
//     vma_start_write(vma)   keeps readers out until write_end(); sleeps until they have left
//     vm_area_alloc(view)    a detached, write-locked VMA, or nullptr; vm_area_free(vma) if it never
//                            was attached
//     vma_mark_attached(vma), vma_mark_detached(vma)   before it enters, after it left the tree
//     release(vma)           the detached object goes back; its backing outlives those who still
//                            read from it
#pragma once

#include "mmu/mm_lock.hpp"
#include "mmu/vma.hpp"

#include <concepts>
#include <optional>
#include <string_view>

namespace slat::mmu {

enum class VmaLockDesign {
  mmap_lock,    // one lock for the address space
  spf,          // speculative page faults: seqlock, SRCU, sequence counts
  vma_rwsem,    // a reader/writer semaphore in each VMA
  vma_refcount, // a reference count in each VMA
};

inline constexpr VmaLockDesign all_vma_lock_designs[] = {
    VmaLockDesign::mmap_lock, VmaLockDesign::spf, VmaLockDesign::vma_rwsem,
    VmaLockDesign::vma_refcount};

/// As on the command line: mmap-lock, spf, vma-rwsem, vma-refcount.
[[nodiscard]] std::string_view to_string(VmaLockDesign design);
[[nodiscard]] std::optional<VmaLockDesign> vma_lock_design(std::string_view name);

template <class D>
concept VmaDesign =
    requires(D& design, typename D::Vma& vma, VmaTicket& ticket, std::uintptr_t address) {
      { D::kind } -> std::convertible_to<VmaLockDesign>;
      { D::lockless } -> std::convertible_to<bool>;
      { design.begin(address) } -> std::same_as<VmaTicket>;
      { design.try_begin(address) } -> std::same_as<VmaTicket>;
      { design.begin_locked(address) } -> std::same_as<VmaTicket>;
      { design.commit(ticket) } -> std::same_as<bool>;
      design.end(ticket);
      design.write_begin();
      design.write_end();
      design.vma_start_write(vma);
      { design.vm_area_alloc(VmaView{}) } -> std::same_as<typename D::Vma*>;
      design.vm_area_free(vma);
      design.vma_mark_attached(vma);
      design.vma_mark_detached(vma);
      design.release(vma);
      { design.mm_lock } -> std::same_as<MmLock&>;
      design.tree.find(address);
    };

/// The mm write lock with the design's write section.
template <class D> class SLAT_SCOPED_CAPABILITY MmWriteGuard {
 public:
  explicit MmWriteGuard(D& design) SLAT_ACQUIRE(design.mm_lock) : design_(&design) {
    design_->mm_lock.lock();
    design_->write_begin();
  }

  ~MmWriteGuard() SLAT_RELEASE() {
    design_->write_end(); // before the lock is free: the next writer expects all VMAs unlocked
    design_->mm_lock.unlock();
  }

  MmWriteGuard(const MmWriteGuard&) = delete;
  MmWriteGuard& operator=(const MmWriteGuard&) = delete;

 private:
  D* design_;
};

} // namespace slat::mmu
