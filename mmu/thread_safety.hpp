// Clang's thread-safety attributes, and the two lock types that carry them. g++ ignores the
// attributes.
#pragma once

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#define SLAT_CAPABILITY(name) __attribute__((capability(name)))
#define SLAT_SCOPED_CAPABILITY __attribute__((scoped_lockable))
#define SLAT_GUARDED_BY(lock) __attribute__((guarded_by(lock)))
#define SLAT_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define SLAT_REQUIRES_SHARED(...) __attribute__((requires_shared_capability(__VA_ARGS__)))
#define SLAT_EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define SLAT_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define SLAT_ACQUIRE_SHARED(...) __attribute__((acquire_shared_capability(__VA_ARGS__)))
#define SLAT_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define SLAT_RELEASE_SHARED(...) __attribute__((release_shared_capability(__VA_ARGS__)))
#define SLAT_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define SLAT_NO_ANALYSIS __attribute__((no_thread_safety_analysis))

namespace slat::mmu {

class SLAT_CAPABILITY("mutex") Mutex {
 public:
  void lock() SLAT_ACQUIRE() { mutex_.lock(); }

  void unlock() SLAT_RELEASE() { mutex_.unlock(); }

  bool try_lock() SLAT_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

  std::mutex& native() { return mutex_; }

 private:
  std::mutex mutex_;
};

class SLAT_SCOPED_CAPABILITY MutexGuard {
 public:
  explicit MutexGuard(Mutex& mutex) SLAT_ACQUIRE(mutex) : lock_(mutex.native()) {}

  ~MutexGuard() SLAT_RELEASE() {}

  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;

  /// Sleeps; the mutex is free meanwhile. May return spuriously.
  void wait(std::condition_variable& condition) { condition.wait(lock_); }

 private:
  std::unique_lock<std::mutex> lock_;
};

} // namespace slat::mmu
