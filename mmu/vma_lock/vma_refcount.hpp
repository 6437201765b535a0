// vma-refcount: the per-VMA lock as one reference count, the form on which the kernel settled (6.15
// and later; include/linux/mmap_lock.h and mm/mmap_lock.c have the same words). Design 4.
//
// vm_refcnt  0 detached | 1 attached | 1+n attached, n readers | + vm_exclude: readers kept out
//
// Who may change what
//   mm_lock_seq  see mm_shared.hpp
//   vm_lock_seq  the holder of the mm write lock, on a VMA of that mm; equal to mm_lock_seq:
//                write-locked until the mm is unlocked
//   vm_refcnt    readers +1/-1 (never from 0); the writer: exclude bit, attach (0 -> 1), detach (-> 0)
//   vm_mm        the writer, while detached; stable while the count is not 0
//
// Orderings
//   attach, release       pairs with the acquire of a reader's increment: it sees every field (I07)
//   un-exclude, release   pairs with the same acquire: vm_lock_seq, and with it mm_lock_seq, are
//                         seen, so the reader's second check cannot miss the writer (I02)
//   mm sequence, release  pairs with the acquire load of mm_lock_seq in the second check: a reader
//                         that is let in sees all that the writer did (I08; mm_shared.hpp)
//   put, release          pairs with the acquire with which the writer sees the count fall (I02, I03)
//   put, fence            "drop, fence, look for a waiter" pairs with "announce, fence, look at the
//                         count" in wait_for() (I06)
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"
#include "mmu/vma_lock/mm_shared.hpp"

#include <cstdint>

namespace slat::mmu {

template <class A> class VmaRefcountOf {
 public:
  using Mm = MmSharedOf<A>;
  static constexpr std::uint32_t vm_exclude = 1u << 30;
  static constexpr std::uint32_t vm_reader_limit = vm_exclude - 1;

  // ---- readers. Inside an RCU section; nothing sleeps.

  /// Tries to read-lock a VMA found under RCU. `free_mm` is called with an mm whose last pin had to
  /// be dropped here.
  template <class FreeMm> [[nodiscard]] VmaReadLock vma_start_read(Mm& mm, FreeMm free_mm) {
    // Cheap first look; a stale value costs a fallback or is caught below. Relaxed: decides
    // nothing.
    if (vm_lock_seq_.load(std::memory_order_relaxed) ==
        mm.mm_lock_seq.load(std::memory_order_relaxed))
      return VmaReadLock::contended;
    std::uint32_t count = vm_refcnt_.load(std::memory_order_relaxed); // the CAS decides
    do {
      if (count == 0) return VmaReadLock::detached;
      if (count >= vm_reader_limit) return VmaReadLock::contended;
    } while (!vm_refcnt_.compare_exchange_weak(count, count + 1, std::memory_order_acquire,
                                               std::memory_order_relaxed));
    Mm* const owner = vm_mm_.get(); // stable: the count is not 0
    if (owner != &mm) [[unlikely]] {
      // Recycled into another mm. Our put may have to wake that mm's writer, which may then free
      // its mm: pin it first. It is alive now, for its writer cannot get past our count (I05).
      owner->grab();
      vma_end_read();
      if (owner->drop()) free_mm(owner);
      return VmaReadLock::detached;
    }
    if (vm_lock_seq_.load(
            std::memory_order_relaxed) == // ordered after the increment by its acquire
        mm.mm_lock_seq.load(std::memory_order_acquire)) { // pairs with end_write()
      vma_end_read();
      return VmaReadLock::contended;
    }
    return VmaReadLock::locked;
  }

  /// Read-locks a VMA of an mm whose read lock the caller holds, so no writer is inside and the VMA
  /// is attached. False only at the reader limit.
  [[nodiscard]] bool vma_start_read_locked() {
    std::uint32_t count = vm_refcnt_.load(std::memory_order_relaxed); // the CAS decides
    do {
      SLAT_ASSERT(count != 0, "a VMA in the tree is attached while the mm lock is held");
      if (count >= vm_reader_limit) return false;
    } while (!vm_refcnt_.compare_exchange_weak(count, count + 1, std::memory_order_acquire,
                                               std::memory_order_relaxed));
    return true;
  }

  /// Puts the count. The caller's mm is alive: it is the one it faults in, or pinned (I05). Any
  /// thread that holds the read lock may do it; nothing of the VMA may be touched afterwards.
  void vma_end_read() {
    Mm* const mm = vm_mm_.get(); // before the decrement: afterwards the VMA may be somebody else's
    const std::uint32_t before = vm_refcnt_.fetch_sub(1, std::memory_order_release);
    SLAT_ASSERT((before & vm_reader_limit) != 0, "put of a VMA that nobody holds");
    const std::uint32_t left = before - 1;
    if (left == vm_exclude || left == vm_exclude + 1) [[unlikely]] {
      A::fence(); // "drop the count, then look for a waiter"; pairs with the fence in wait_for()
                  // (I06)
      if (mm->vma_writer_waiting.load(std::memory_order_relaxed) != 0) { // ordered by the fence
        mm->vma_writer_wake.fetch_add(1, std::memory_order_release);     // pairs with wait_for()
        A::wake_all(mm->vma_writer_wake);
      }
    }
  }

  // ---- the writer. The write lock of `mm` is held, and the VMA is its or is detached.

  /// Write-locks the VMA until end_write(). Sleeps until its readers are gone; idempotent. No page
  /// lock held.
  void vma_start_write(Mm& mm) {
    const std::uint64_t seq =
        mm.mm_lock_seq.load(std::memory_order_relaxed); // this thread wrote it
    SLAT_ASSERT((seq & 1) == 1, "vma_start_write without the mm write lock");
    if (vm_lock_seq_.load(std::memory_order_relaxed) == seq)
      return; // written by holders of the mm lock only
    const bool excluded = enter_exclusive(mm, vm_exclude + 1);
    vm_lock_seq_.store(seq,
                       std::memory_order_relaxed); // published by the release below, or by attach
    if (excluded)
      vm_refcnt_.fetch_sub(vm_exclude, std::memory_order_release); // pairs with readers' increments
  }

  [[nodiscard]] bool is_write_locked(const Mm& mm) const {
    return vm_lock_seq_.load(
               std::memory_order_relaxed) == // both written by holders of the mm lock only
           mm.mm_lock_seq.load(std::memory_order_relaxed);
  }

  /// For an object that is detached: whose it will be. Precedes attach.
  void set_mm(Mm& mm) { vm_mm_.set(&mm); }

  /// Lets readers count. Every field is set, and the VMA is write-locked.
  void vma_mark_attached(Mm& mm) {
    SLAT_ASSERT(is_write_locked(mm), "attach of a VMA that is not write-locked");
    SLAT_ASSERT(is_detached(), "attach of an attached VMA");
    (void)mm;
    // A plain store: nobody counts from 0. Release: pairs with the acquire of the first reader's
    // increment (I07).
    vm_refcnt_.store(1, std::memory_order_release);
  }

  /// Ends at 0, waiting out transient readers; afterwards the object may be reused at once (I03).
  void vma_mark_detached(Mm& mm) {
    SLAT_ASSERT(is_write_locked(mm), "detach of a VMA that is not write-locked");
    // Acquire when it ends at 0: pairs with readers' puts; else enter_exclusive() acquires.
    if (vm_refcnt_.fetch_sub(1, std::memory_order_acq_rel) == 1) return;
    // A reader is inside that has yet to see vm_lock_seq. Keep others out and wait for it.
    if (enter_exclusive(mm, vm_exclude))
      vm_refcnt_.fetch_sub(vm_exclude, std::memory_order_release); // -> 0
  }

  [[nodiscard]] bool is_detached() const {
    return vm_refcnt_.load(std::memory_order_acquire) == 0; // pairs with the last put
  }

  /// For reports and tests: readers inside now.
  [[nodiscard]] std::uint32_t vm_refcnt() const {
    return vm_refcnt_.load(std::memory_order_acquire);
  }

 private:
  /// Adds the exclude bit unless the count is 0 and waits until only `target` is left. False if it
  /// was 0.
  bool enter_exclusive(Mm& mm, std::uint32_t target) {
    std::uint32_t count = vm_refcnt_.load(std::memory_order_acquire); // 0: pairs with the last put
    do {
      if (count == 0) return false;
    } while (!vm_refcnt_.compare_exchange_weak(count, count + vm_exclude, std::memory_order_acquire,
                                               std::memory_order_acquire));
    if (count + vm_exclude != target) wait_for(mm, target);
    return true;
  }

  void wait_for(Mm& mm, std::uint32_t target) {
    mm.vma_writer_waiting.store(1, std::memory_order_relaxed); // announced by the fence
    for (;;) {
      const std::uint32_t seen =
          mm.vma_writer_wake.load(std::memory_order_acquire); // pairs with the put
      A::fence(); // "announce, then look at the count"; pairs with the fence in vma_end_read()
                  // (I06)
      if (vm_refcnt_.load(std::memory_order_acquire) == target)
        break; // pairs with the put's release (I02)
      A::wait_while(mm.vma_writer_wake, seen);
    }
    mm.vma_writer_waiting.store(0, std::memory_order_relaxed); // a late wake-up costs nothing
  }

  // Constructor state equals freed state (I04): allocation and copying never write these.
  typename A::template atomic<std::uint32_t> vm_refcnt_{0};
  typename A::template atomic<std::uint64_t> vm_lock_seq_{~std::uint64_t(0) -
                                                          1}; // even: never equal to a writer's
  typename A::template var<Mm*> vm_mm_{nullptr};
};

using VmaRefcount = VmaRefcountOf<StdAtomics>;

} // namespace slat::mmu
