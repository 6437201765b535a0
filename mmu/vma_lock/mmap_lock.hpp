// mmap-lock, the baseline: one reader/writer lock for the whole address space. A fault holds it for
// reading while it needs the VMA; nothing is lockless. Design 1.
#pragma once

#include "mmu/range_tree.hpp"
#include "mmu/vma_lock/design.hpp"
#include "mmu/vma_lock/vma_cache.hpp"

namespace slat::mmu {

class MmapLock {
 public:
  static constexpr VmaLockDesign kind = VmaLockDesign::mmap_lock;
  static constexpr bool lockless = false;

  struct alignas(64) Vma : VmaFields<PlainField> {};

  using Tree = RangeTree<Vma>;

  MmapLock(Srcu& fault_srcu, std::uint64_t) : fault_srcu_(&fault_srcu) {}

  ~MmapLock() { vma_cache<Vma>().flush(); } // that may have been many

  MmapLock(const MmapLock&) = delete;
  MmapLock& operator=(const MmapLock&) = delete;

  MmLock mm_lock;
  Tree tree;

  /// Sleeps for the mm read lock, which stays held until end().
  VmaTicket begin(std::uintptr_t address) SLAT_NO_ANALYSIS {
    mm_lock.lock_shared();
    Vma* const vma = tree.find(address);
    if (vma != nullptr) return {vma, vma->view(), 0, true};
    mm_lock.unlock_shared();
    return {};
  }

  VmaTicket begin_locked(std::uintptr_t address) { return begin(address); }

  /// The same without sleeping; empty too where a writer is about.
  VmaTicket try_begin(std::uintptr_t address) SLAT_NO_ANALYSIS {
    if (!mm_lock.try_lock_shared()) return {};
    Vma* const vma = tree.find(address);
    if (vma != nullptr) return {vma, vma->view(), 0, true};
    mm_lock.unlock_shared();
    return {};
  }

  [[nodiscard]] bool commit(const VmaTicket&) const { return true; } // no writer got in

  void end(const VmaTicket&) SLAT_NO_ANALYSIS { mm_lock.unlock_shared(); }

  // The mm write lock keeps every reader out of every VMA: there is nothing else to do.
  void write_begin() {}

  void write_end() {}

  void vma_start_write(Vma&) {}

  Vma* vm_area_alloc(const VmaView& view) {
    Vma* const vma = vma_cache<Vma>().get();
    if (vma == nullptr) return nullptr;
    vma->set(view);
    view.backing->get();
    return vma;
  }

  void vm_area_free(Vma& vma) { release(vma); }

  void vma_mark_attached(Vma&) {}

  void vma_mark_detached(Vma&) {}

  void release(Vma& vma) {
    Backing* const backing = vma.vm_backing;
    vma_cache<Vma>().put(&vma);
    backing->put_after(*fault_srcu_); // faults drop the lock before they install (I16)
  }

  /// VMAs out of the cache, in the whole process.
  static std::size_t live() { return vma_cache<Vma>().usage().live; }

 private:
  Srcu* fault_srcu_;
};

} // namespace slat::mmu
