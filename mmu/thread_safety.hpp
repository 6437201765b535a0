// Clang's thread-safety attributes, and the two lock types that carry them. g++ ignores the
// attributes. Checked builds also check the order of locks (lock_rank.hpp).
#pragma once

#include "mmu/lock_rank.hpp"

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#ifdef SLAT_EXPLORE
#include <slat_explore.hpp>
#endif

#ifdef __clang__
#define SLAT_ATTRIBUTE(x) __attribute__((x))
#else
#define SLAT_ATTRIBUTE(x)
#endif

#define SLAT_CAPABILITY(name) SLAT_ATTRIBUTE(capability(name))
#define SLAT_SCOPED_CAPABILITY SLAT_ATTRIBUTE(scoped_lockable)
#define SLAT_GUARDED_BY(lock) SLAT_ATTRIBUTE(guarded_by(lock))
#define SLAT_REQUIRES(...) SLAT_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define SLAT_REQUIRES_SHARED(...) SLAT_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define SLAT_EXCLUDES(...) SLAT_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define SLAT_ACQUIRE(...) SLAT_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define SLAT_ACQUIRE_SHARED(...) SLAT_ATTRIBUTE(acquire_shared_capability(__VA_ARGS__))
#define SLAT_RELEASE(...) SLAT_ATTRIBUTE(release_capability(__VA_ARGS__))
#define SLAT_RELEASE_SHARED(...) SLAT_ATTRIBUTE(release_shared_capability(__VA_ARGS__))
#define SLAT_TRY_ACQUIRE_SHARED(...) SLAT_ATTRIBUTE(try_acquire_shared_capability(__VA_ARGS__))
#define SLAT_TRY_ACQUIRE(...) SLAT_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define SLAT_NO_ANALYSIS SLAT_ATTRIBUTE(no_thread_safety_analysis)

namespace slat::mmu {

#ifdef SLAT_EXPLORE
using NativeMutex = explore::NativeMutex;
using ConditionVariable = explore::NativeCondition;
#else
using NativeMutex = std::mutex;
using ConditionVariable = std::condition_variable;
#endif

class SLAT_CAPABILITY("mutex") Mutex {
 public:
#ifdef SLAT_CHECKED
  explicit Mutex(LockRank rank = LockRank::leaf) : rank_(rank) {}
#else
  explicit Mutex(LockRank = LockRank::leaf) {}
#endif

  void lock() SLAT_ACQUIRE() {
    lock_rank::acquiring(this, rank());
    mutex_.lock();
    lock_rank::acquired(this, rank());
  }

  void unlock() SLAT_RELEASE() {
    lock_rank::released(this);
    mutex_.unlock();
  }

  bool try_lock() SLAT_TRY_ACQUIRE(true) {
    if (!mutex_.try_lock()) return false;
    lock_rank::acquired(this, rank());
    return true;
  }

 private:
  friend class MutexGuard;

#ifdef SLAT_CHECKED
  [[nodiscard]] LockRank rank() const { return rank_; }

  const LockRank rank_;
#else
  [[nodiscard]] static LockRank rank() { return LockRank::leaf; }
#endif
  NativeMutex mutex_;
};

#ifndef SLAT_CHECKED
static_assert(sizeof(Mutex) == sizeof(std::mutex)); // ranks cost nothing
#endif

class SLAT_SCOPED_CAPABILITY MutexGuard {
 public:
  explicit MutexGuard(Mutex& mutex) SLAT_ACQUIRE(mutex) : mutex_(&mutex) { mutex.lock(); }

  ~MutexGuard() SLAT_RELEASE() { mutex_->unlock(); }

  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;

  /// Sleeps; the mutex is free meanwhile. May return spuriously.
  void wait(ConditionVariable& condition) {
    might_sleep();
    Native native(*mutex_);
    condition.wait(native.lock);
  }

  /// The same until `deadline` at the latest; false once it has passed.
  template <class TimePoint> bool wait_until(ConditionVariable& condition, TimePoint deadline) {
    might_sleep();
    Native native(*mutex_);
    return condition.wait_until(native.lock, deadline) == std::cv_status::no_timeout;
  }

 private:
  /// The held mutex as what condition variables want. Still on the thread's list of locks while it
  /// sleeps, for it comes back with it.
  struct Native {
    explicit Native(Mutex& mutex) : lock(mutex.mutex_, std::adopt_lock) {}

    ~Native() { (void)lock.release(); }

    Native(const Native&) = delete;
    Native& operator=(const Native&) = delete;

    std::unique_lock<NativeMutex> lock;
  };

  Mutex* mutex_;
};

} // namespace slat::mmu
