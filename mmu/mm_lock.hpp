// MmLock: the lock of the whole address space (mmap_lock). Writers come before readers that wait
// already: under a stream of faults a writer would otherwise starve where every fault takes the lock.
#pragma once

#include "mmu/thread_safety.hpp"

#include <pthread.h>

namespace slat::mmu {

#ifdef SLAT_EXPLORE
using NativeRwLock = explore::NativeRwLock;
#else
/// pthread's, of the kind that prefers writers; std::shared_mutex has no such choice.
class NativeRwLock {
 public:
  NativeRwLock() {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    // Nobody read-locks it twice on one thread, which this kind forbids.
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&lock_, &attributes);
    pthread_rwlockattr_destroy(&attributes);
  }

  ~NativeRwLock() { pthread_rwlock_destroy(&lock_); }

  NativeRwLock(const NativeRwLock&) = delete;
  NativeRwLock& operator=(const NativeRwLock&) = delete;

  void lock() { pthread_rwlock_wrlock(&lock_); }

  void lock_shared() { pthread_rwlock_rdlock(&lock_); }

  bool try_lock_shared() { return pthread_rwlock_tryrdlock(&lock_) == 0; }

  void unlock() { pthread_rwlock_unlock(&lock_); }

  void unlock_shared() { pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_;
};
#endif

class SLAT_CAPABILITY("mm_lock") MmLock {
 public:
  MmLock() = default;
  MmLock(const MmLock&) = delete;
  MmLock& operator=(const MmLock&) = delete;

  /// Sleeps. No other lock of mmu/ held.
  void lock() SLAT_ACQUIRE() {
    before();
    lock_.lock();
    lock_rank::acquired(this, LockRank::mm_lock);
  }

  void unlock() SLAT_RELEASE() {
    lock_rank::released(this);
    lock_.unlock();
  }

  /// Sleeps while a writer is inside or waits. No other lock of mmu/ held.
  void lock_shared() SLAT_ACQUIRE_SHARED() {
    before();
    lock_.lock_shared();
    lock_rank::acquired(this, LockRank::mm_lock);
  }

  /// False where a writer is inside or waits. Does not sleep; other locks may be held.
  [[nodiscard]] bool try_lock_shared() SLAT_TRY_ACQUIRE_SHARED(true) {
    if (!lock_.try_lock_shared()) return false;
    lock_rank::acquired(this, LockRank::mm_lock);
    return true;
  }

  void unlock_shared() SLAT_RELEASE_SHARED() {
    lock_rank::released(this);
    lock_.unlock_shared();
  }

 private:
  void before() {
    might_sleep();
    lock_rank::acquiring(this, LockRank::mm_lock);
  }

  NativeRwLock lock_;
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
