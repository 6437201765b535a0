// MmLock: the lock of the whole address space (mmap_lock). Write-locking makes the mm sequence odd,
// unlocking makes it even again, which unlocks every VMA that was write-locked meanwhile.
#pragma once

#include "mmu/thread_safety.hpp"
#include "mmu/vma_lock/vma_refcount.hpp"

#include <shared_mutex>

namespace slat::mmu {

class SLAT_CAPABILITY("mm_lock") MmLock {
 public:
  explicit MmLock(MmShared& shared) : shared_(&shared) {}

  void lock() SLAT_ACQUIRE() {
    mutex_.lock();
    shared_->begin_write();
  }

  void unlock() SLAT_RELEASE() {
    shared_->end_write(); // before the lock is free: the next writer expects an even sequence
    mutex_.unlock();
  }

  void lock_shared() SLAT_ACQUIRE_SHARED() { mutex_.lock_shared(); }

  void unlock_shared() SLAT_RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  MmShared* shared_;
  std::shared_mutex mutex_;
};

class SLAT_SCOPED_CAPABILITY MmWriteGuard {
 public:
  explicit MmWriteGuard(MmLock& lock) SLAT_ACQUIRE(lock) : lock_(&lock) { lock_->lock(); }

  ~MmWriteGuard() SLAT_RELEASE() { lock_->unlock(); }

  MmWriteGuard(const MmWriteGuard&) = delete;
  MmWriteGuard& operator=(const MmWriteGuard&) = delete;

 private:
  MmLock* lock_;
};

class SLAT_SCOPED_CAPABILITY MmReadGuard {
 public:
  explicit MmReadGuard(MmLock& lock) SLAT_ACQUIRE_SHARED(lock) : lock_(&lock) {
    lock_->lock_shared();
  }

  ~MmReadGuard() SLAT_RELEASE() { lock_->unlock_shared(); }

  MmReadGuard(const MmReadGuard&) = delete;
  MmReadGuard& operator=(const MmReadGuard&) = delete;

 private:
  MmLock* lock_;
};

} // namespace slat::mmu
