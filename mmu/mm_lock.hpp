// MmLock: the lock of the whole address space (mmap_lock). Writers come before readers that wait
// already: under a stream of faults a writer would otherwise starve where every fault takes the lock.
#pragma once

#include "mmu/thread_safety.hpp"

#include <pthread.h>

namespace slat::mmu {

class SLAT_CAPABILITY("mm_lock") MmLock {
 public:
  MmLock() {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    // Nobody read-locks it twice on one thread, which this kind forbids.
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&lock_, &attributes);
    pthread_rwlockattr_destroy(&attributes);
  }

  ~MmLock() { pthread_rwlock_destroy(&lock_); }

  MmLock(const MmLock&) = delete;
  MmLock& operator=(const MmLock&) = delete;

  /// Sleeps. No other lock of mmu/ held.
  void lock() SLAT_ACQUIRE() {
    before();
    pthread_rwlock_wrlock(&lock_);
    lock_rank::acquired(this, LockRank::mm_lock);
  }

  void unlock() SLAT_RELEASE() { drop(); }

  /// Sleeps while a writer is inside or waits. No other lock of mmu/ held.
  void lock_shared() SLAT_ACQUIRE_SHARED() {
    before();
    pthread_rwlock_rdlock(&lock_);
    lock_rank::acquired(this, LockRank::mm_lock);
  }

  /// False where a writer is inside or waits. Does not sleep; other locks may be held.
  [[nodiscard]] bool try_lock_shared() SLAT_TRY_ACQUIRE_SHARED(true) {
    if (pthread_rwlock_tryrdlock(&lock_) != 0) return false;
    lock_rank::acquired(this, LockRank::mm_lock);
    return true;
  }

  void unlock_shared() SLAT_RELEASE_SHARED() { drop(); }

 private:
  void before() {
    might_sleep();
    lock_rank::acquiring(this, LockRank::mm_lock);
  }

  void drop() {
    lock_rank::released(this);
    pthread_rwlock_unlock(&lock_);
  }

  pthread_rwlock_t lock_;
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
