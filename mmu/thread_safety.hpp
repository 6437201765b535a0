// Clang's thread-safety attributes, and the two lock types that carry them. g++ ignores the
// attributes.
#pragma once

#include <condition_variable>
#include <mutex>
#include <shared_mutex>

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
#define SLAT_TRY_ACQUIRE(...) SLAT_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define SLAT_NO_ANALYSIS SLAT_ATTRIBUTE(no_thread_safety_analysis)

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

  /// The same until `deadline` at the latest; false once it has passed.
  template <class TimePoint>
  bool wait_until(std::condition_variable& condition, TimePoint deadline) {
    return condition.wait_until(lock_, deadline) == std::cv_status::no_timeout;
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

} // namespace slat::mmu
