// Per-VMA locks: a fault finds its VMA under RCU and locks that VMA alone. Binds a lock that lives in
// the VMA (VmaRwsem, VmaRefcount) to the tree and the type-stable cache. Designs 3 and 4.
//
// A VMA found under RCU may be dead, recycled inside this mm, or recycled into another mm by the time
// it is locked. The lock tells the first and the last; the bounds, checked under it, the second (I01).
#pragma once

#include "mmu/range_tree.hpp"
#include "mmu/rcu.hpp"
#include "mmu/vma_lock/design.hpp"
#include "mmu/vma_lock/vma_cache.hpp"
#include "mmu/vma_lock/vma_refcount.hpp"
#include "mmu/vma_lock/vma_rwsem.hpp"

namespace slat::mmu {

template <class Lock, VmaLockDesign Kind> class PerVmaLock {
 public:
  static constexpr VmaLockDesign kind = Kind;
  static constexpr bool lockless = true;

  struct alignas(64) Vma : VmaFields<PlainField> {
    // A cache line of its own: readers write it, and must not slow down those who only look at the
    // fields.
    alignas(64) Lock lock;
  };

  static_assert(sizeof(Vma) == 128);
  using Tree = RangeTree<Vma>;

  PerVmaLock(Srcu& fault_srcu, std::uint64_t first_sequence)
      : shared_(new MmShared(first_sequence)), fault_srcu_(&fault_srcu) {}

  /// No reader holds a VMA. One that lost a race may still have the shared part pinned (I05).
  ~PerVmaLock() {
    if (shared_->drop()) free_mm(shared_);
    vma_cache<Vma>().flush(); // that may have been many
  }

  PerVmaLock(const PerVmaLock&) = delete;
  PerVmaLock& operator=(const PerVmaLock&) = delete;

  MmLock mm_lock;
  Tree tree;

  /// lock_vma_under_rcu.
  VmaTicket begin(std::uintptr_t address) {
    // Bounded: each round that ends in "detached" means that a writer has changed the tree since;
    // four times in a row is somebody to queue up behind.
    for (int round = 0; round < 4; ++round) {
      const rcu::ReadGuard section;
      Vma* const vma = tree.find(address);
      if (vma == nullptr) return {};
      const VmaReadLock outcome = vma->lock.vma_start_read(*shared_, free_mm);
      if (outcome == VmaReadLock::detached) continue;
      if (outcome == VmaReadLock::contended) return {};
      if (address >= vma->vm_start && address < vma->vm_end) return {vma, vma->view(), 0, false};
      vma->lock.vma_end_read(); // recycled inside this mm: attached and ours, but elsewhere (I01)
    }
    return {};
  }

  VmaTicket try_begin(std::uintptr_t address) { return begin(address); }

  VmaTicket begin_locked(std::uintptr_t address) {
    const MmReadGuard guard(mm_lock);
    Vma* const vma = tree.find(address);
    if (vma == nullptr) return {};
    SLAT_CHECK(vma->lock.vma_start_read_locked(), "a VMA has a billion readers");
    return {vma, vma->view(), 0, false};
  }

  [[nodiscard]] bool commit(const VmaTicket&) const { return true; } // no writer gets in

  void end(const VmaTicket& ticket) { static_cast<Vma*>(ticket.vma)->lock.vma_end_read(); }

  void write_begin() { shared_->begin_write(); }

  void write_end() { shared_->end_write(); }

  void vma_start_write(Vma& vma) { vma.lock.vma_start_write(*shared_); }

  Vma* vm_area_alloc(const VmaView& view) {
    Vma* const vma = vma_cache<Vma>().get();
    if (vma == nullptr) return nullptr;
    SLAT_ASSERT(vma->lock.is_detached(), "the cache gave out an attached VMA (I03, I04)");
    vma->set(view); // and not the lock word: it is not ours to write in a recycled object (I04)
    view.backing->get();
    vma->lock.set_mm(*shared_);
    vma->lock.vma_start_write(*shared_);
    return vma;
  }

  void vm_area_free(Vma& vma) { release(vma); }

  void vma_mark_attached(Vma& vma) { vma.lock.vma_mark_attached(*shared_); }

  void vma_mark_detached(Vma& vma) { vma.lock.vma_mark_detached(*shared_); }

  void release(Vma& vma) {
    Backing* const backing = vma.vm_backing;
    vma_cache<Vma>().put(&vma);       // may be somebody else's at once
    backing->put_after(*fault_srcu_); // faults drop the lock before they install (I16)
  }

  /// VMAs out of the cache, in the whole process.
  static std::size_t live() { return vma_cache<Vma>().usage().live; }

 private:
  static void free_mm(MmShared* shared) { delete shared; }

  MmShared* shared_;
  Srcu* fault_srcu_;
};

using PerVmaRwsem = PerVmaLock<VmaRwsem, VmaLockDesign::vma_rwsem>;
using PerVmaRefcount = PerVmaLock<VmaRefcount, VmaLockDesign::vma_refcount>;

} // namespace slat::mmu
