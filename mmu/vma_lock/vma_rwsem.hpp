// vma-rwsem: the per-VMA lock as a reader/writer semaphore inside the VMA, the kernel's first form
// (6.4 to 6.14; include/linux/mm.h and mm/memory.c have the same words). Design 3.
//
// vm_lock  n: n readers inside | + writer: a writer is inside, or waits for the n to leave; no
//          reader gets in
//
// Who may change what
//   mm_lock_seq  see mm_shared.hpp
//   vm_lock_seq  the holder of the mm write lock who is the semaphore's writer; equal to mm_lock_seq:
//                write-locked until the mm is unlocked, though the semaphore is free again
//   vm_lock      readers +1 (never past a writer), -1; the writer: its bit. Nobody else, in no life of
//                the object (I04)
//   detached     the holder of the mm write lock: true from birth, false while in a tree
//   vm_mm        the writer, while detached; read by who is inside and has seen "not detached"
//
// Recycling. A reader with a stale pointer may hold the semaphore while the object goes from one
// life to the next, and counts itself out in the next life: the word is never written but by adding
// and subtracting, so that is a moment's delay for the next writer and nothing else (I03). What it
// may look at meanwhile: vm_lock_seq and detached, which are atomics; and vm_mm once it has seen
// "not detached". Three rules keep that apart from the writer's plain store to vm_mm, and keep it
// from being let in where it must not be:
//   - readers look at detached before vm_mm;
//   - detaching ends with a pass through the semaphore. Who was inside, and may have seen "not
//     detached", has left; who comes later sees "detached", or a later attach (I01, I03);
//   - a detached VMA never counts as write-locked already, whatever a life in another mm has left in
//     vm_lock_seq: each life begins with a pass through the semaphore, so a reader that sees the
//     attach has entered after that pass and sees the writer's sequence (I02).
// A reader's put touches the word and nothing else, no mm least of all (I05). Its wake-up comes after
// its decrement, when the object may be recycled and its slab gone: it uses the word's address as a
// name and does not read it. Whoever sleeps at that address by then wakes for nothing and looks
// again, as every user of a futex has to.
//
// Orderings
//   reader's CAS, acquire    pairs with the release with which a writer leaves: vm_lock_seq, and with
//                            it mm_lock_seq, are seen, so the second check cannot miss the writer (I02)
//   mm sequence, release     pairs with the acquire load of mm_lock_seq in the second check: a reader
//                            that is let in sees all that the writer did (I08; mm_shared.hpp)
//   attach, release          pairs with the acquire load of detached: vm_mm and every other field are
//                            seen, also by a reader of another mm (I07)
//   put, release             pairs with the acquire with which the writer sees the readers gone (I02)
// No fence: a waiting writer is announced by its bit in the very word that it sleeps on, so a put
// either sees the bit or changes the word before the writer sleeps (I06).
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"
#include "mmu/vma_lock/mm_shared.hpp"

#include <cstdint>

namespace slat::mmu {

template <class A> class VmaRwsemOf {
 public:
  using Mm = MmSharedOf<A>;
  static constexpr std::uint32_t vm_writer = 1u << 31;
  static constexpr std::uint32_t vm_reader_limit = vm_writer - 1;

  // ---- readers. Inside an RCU section; nothing sleeps.

  /// Tries to read-lock a VMA found under RCU; no lock need be held. `locked` says nothing about
  /// the VMA's bounds: they are the caller's to check. The second argument, which says how to free
  /// an mm, is for VmaRefcountOf: here no other mm is touched.
  template <class FreeMm> [[nodiscard]] VmaReadLock vma_start_read(Mm& mm, const FreeMm&) {
    // Cheap first look; a stale value costs a fallback or is caught below. Relaxed: decides
    // nothing.
    if (vm_lock_seq_.load(std::memory_order_relaxed) ==
        mm.mm_lock_seq.load(std::memory_order_relaxed))
      return VmaReadLock::contended;
    if (!try_enter()) return VmaReadLock::contended;
    const VmaReadLock outcome = look_again(mm);
    if (outcome != VmaReadLock::locked) vma_end_read();
    return outcome;
  }

  /// Read-locks a VMA of an mm whose read lock the caller holds, so no writer is inside and the VMA
  /// is attached. False only at the reader limit.
  [[nodiscard]] bool vma_start_read_locked() {
    SLAT_ASSERT(!is_detached(), "a VMA in the tree is attached while the mm lock is held");
    return try_enter();
  }

  /// Leaves. Any thread that holds the read lock may do it; nothing of the VMA may be touched
  /// afterwards. Touches no mm, so none needs to be alive (I05).
  void vma_end_read() {
    // Release: pairs with the acquire in enter_exclusive().
    const std::uint32_t before = vm_lock_.fetch_sub(1, std::memory_order_release);
    SLAT_ASSERT((before & vm_reader_limit) != 0, "put of a VMA that nobody holds");
    if (before == vm_writer + 1) [[unlikely]] // the last one out, and a writer waits (I06)
      A::wake_all(vm_lock_);
  }

  // ---- the writer. The write lock of `mm` is held, and the VMA is its or is detached.

  /// Write-locks the VMA until end_write(). Sleeps until its readers are gone; idempotent. No page
  /// lock held.
  void vma_start_write(Mm& mm) {
    const std::uint64_t seq =
        mm.mm_lock_seq.load(std::memory_order_relaxed); // this thread wrote it
    SLAT_ASSERT((seq & 1) == 1, "vma_start_write without the mm write lock");
    // Both relaxed: written by holders of the mm lock only, or handed over with the object. A
    // detached one may have an equal sequence from another mm.
    if (vm_lock_seq_.load(std::memory_order_relaxed) == seq &&
        detached_.load(std::memory_order_relaxed) == 0)
      return;
    enter_exclusive();
    vm_lock_seq_.store(seq, std::memory_order_relaxed); // published by the release of leaving
    leave_exclusive();
  }

  [[nodiscard]] bool is_write_locked(const Mm& mm) const {
    return vm_lock_seq_.load(
               std::memory_order_relaxed) == // both written by holders of the mm lock only
           mm.mm_lock_seq.load(std::memory_order_relaxed);
  }

  /// For an object that is detached: whose it will be. Precedes attach.
  void set_mm(Mm& mm) { vm_mm_.set(&mm); }

  /// Lets readers in once the mm is unlocked. Every field is set, and the VMA is write-locked.
  void vma_mark_attached(Mm& mm) {
    SLAT_ASSERT(is_write_locked(mm), "attach of a VMA that is not write-locked");
    SLAT_ASSERT(is_detached(), "attach of an attached VMA");
    (void)mm;
    detached_.store(0, std::memory_order_release); // pairs with look_again() (I07)
  }

  /// Waits out transient readers; afterwards the object may be reused at once (I03). Readers that
  /// come later hold the semaphore for a moment and find the VMA detached.
  void vma_mark_detached(Mm& mm) {
    SLAT_ASSERT(is_write_locked(mm), "detach of a VMA that is not write-locked");
    SLAT_ASSERT(!is_detached(), "detach of a detached VMA");
    (void)mm;
    detached_.store(1, std::memory_order_relaxed); // published by the release of leaving
    enter_exclusive();
    leave_exclusive();
  }

  [[nodiscard]] bool is_detached() const {
    return detached_.load(std::memory_order_acquire) != 0; // pairs with attach
  }

  /// For reports and tests: readers inside now, transient ones included.
  [[nodiscard]] std::uint32_t readers() const {
    return vm_lock_.load(std::memory_order_acquire) & vm_reader_limit;
  }

  /// For tests: the semaphore has a writer, inside or waiting.
  [[nodiscard]] bool has_writer() const {
    return (vm_lock_.load(std::memory_order_acquire) & vm_writer) != 0;
  }

 private:
  /// The try-lock of the semaphore's reader side.
  bool try_enter() {
    std::uint32_t word = vm_lock_.load(std::memory_order_relaxed); // the CAS decides
    do {
      if (word >= vm_reader_limit) return false; // a writer, or too many readers
    } while (!vm_lock_.compare_exchange_weak(word, word + 1, std::memory_order_acquire,
                                             std::memory_order_relaxed));
    return true;
  }

  /// What a reader that is inside has to see before it may stay.
  VmaReadLock look_again(Mm& mm) {
    if (vm_lock_seq_.load(std::memory_order_relaxed) == // ordered after entering by its acquire
        mm.mm_lock_seq.load(std::memory_order_acquire)) // pairs with begin_write(), end_write()
      return VmaReadLock::contended;
    if (detached_.load(std::memory_order_acquire) != 0) // pairs with vma_mark_attached()
      return VmaReadLock::detached;
    return vm_mm_.get() == &mm ? VmaReadLock::locked : VmaReadLock::detached;
  }

  /// The semaphore's writer side. One writer at a time: the mm write lock sees to it, and the cache
  /// hands an object on only when its last writer is done.
  void enter_exclusive() {
    // Acquire: pairs with the puts of those who have left.
    std::uint32_t word =
        vm_lock_.fetch_or(vm_writer, std::memory_order_acquire) | vm_writer; // kept out from here
    while (word != vm_writer) {
      A::wait_while(vm_lock_, word);
      word = vm_lock_.load(std::memory_order_acquire); // pairs with the put's release (I02)
    }
  }

  void leave_exclusive() {
    vm_lock_.fetch_and(~vm_writer, std::memory_order_release); // pairs with readers' CAS
  }

  // Constructor state equals freed state but for vm_lock_seq, which may have any value then; readers
  // on their way out may be in vm_lock. Allocation and copying never write these (I04).
  typename A::template atomic<std::uint32_t> vm_lock_{0};
  typename A::template atomic<std::uint32_t> detached_{1};
  typename A::template atomic<std::uint64_t> vm_lock_seq_{~std::uint64_t(0) -
                                                          1}; // even: never equal to a writer's
  typename A::template var<Mm*> vm_mm_{nullptr};
};

using VmaRwsem = VmaRwsemOf<StdAtomics>;

} // namespace slat::mmu
