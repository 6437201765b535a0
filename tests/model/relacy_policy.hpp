// The atomics policy of the model checker: the same members as StdAtomics, so that the protocol
// headers of mmu/ run under relacy unmodified. Include this instead of relacy's own headers, which
// leave macros named new, delete, free, assert, errno and memory_order_* behind.
//
// Where relacy is stronger than C++ and it is cheap to be fair, this makes it weaker again:
//   - a compare-exchange may fail on a stale value (relacy always shows it the newest);
//   - a futex orders nothing: neither does the sleeper learn what the waker knew, nor does its
//     comparison have to read the newest value, as long as no wake-up has passed it by.
// What stays stronger: two seq_cst fences synchronise with each other, so a data race that only a
// pair of fences hides is not reported; and a load never sees a store that is executed later.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <source_location>
#include <utility>

#include <relacy/relacy.hpp>

#undef $
#undef VAR_T
#undef TLS_T
#undef VAR
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno

namespace slat::model {

using Where = std::source_location;

/// Line of the product header in a reported history, not of this wrapper.
inline rl::debug_info info(const Where& where) {
  return {where.function_name(), where.file_name(), where.line()};
}

inline rl::memory_order order(std::memory_order mo) {
  switch (mo) {
  case std::memory_order::relaxed:
    return rl::mo_relaxed;
  case std::memory_order::consume:
    return rl::mo_consume;
  case std::memory_order::acquire:
    return rl::mo_acquire;
  case std::memory_order::release:
    return rl::mo_release;
  case std::memory_order::acq_rel:
    return rl::mo_acq_rel;
  case std::memory_order::seq_cst:
    break;
  }
  return rl::mo_seq_cst;
}

/// What one thread knows of the others: relacy's vector clock of it.
class Knowledge {
 public:
  static constexpr int max_threads = 8;

  static Knowledge of_this_thread() {
    Knowledge now;
    const rl::thread_info_base& self = *rl::ctx().threadx_;
    for (int i = 0; i < rl::ctx().get_thread_count(); ++i)
      now.seen_[at(i)] = self.acq_rel_order_[i];
    return now;
  }

  void join(const Knowledge& other) {
    for (std::size_t i = 0; i < seen_.size(); ++i)
      if (seen_[i] < other.seen_[i]) seen_[i] = other.seen_[i];
  }

  /// Makes it this thread's knowledge; a thread's own clock never goes back.
  void impose() const {
    const rl::thread_info_base& self = *rl::ctx().threadx_;
    for (int i = 0; i < rl::ctx().get_thread_count(); ++i)
      if (i != self.index_) self.acq_rel_order_[i] = seen_[at(i)];
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  std::array<rl::timestamp_t, max_threads> seen_{};
};

struct RelacyAtomics {
  template <class T> class atomic {
   public:
    atomic() : atomic(T{}) {}

    atomic(T value) : value_(value) {} // implicit, as in std::atomic

    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    T load(std::memory_order mo = std::memory_order::seq_cst,
           Where where = Where::current()) const {
      return value_.load(order(mo), info(where));
    }

    void store(T value, std::memory_order mo = std::memory_order::seq_cst,
               Where where = Where::current()) {
      value_.store(value, order(mo), info(where));
    }

    T exchange(T value, std::memory_order mo = std::memory_order::seq_cst,
               Where where = Where::current()) {
      return value_.exchange(value, order(mo), info(where));
    }

    T fetch_add(T value, std::memory_order mo = std::memory_order::seq_cst,
                Where where = Where::current()) {
      return value_.fetch_add(value, order(mo), info(where));
    }

    T fetch_sub(T value, std::memory_order mo = std::memory_order::seq_cst,
                Where where = Where::current()) {
      return value_.fetch_sub(value, order(mo), info(where));
    }

    T fetch_or(T value, std::memory_order mo = std::memory_order::seq_cst,
               Where where = Where::current()) {
      return value_.fetch_or(value, order(mo), info(where));
    }

    T fetch_and(T value, std::memory_order mo = std::memory_order::seq_cst,
                Where where = Where::current()) {
      return value_.fetch_and(value, order(mo), info(where));
    }

    bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                               std::memory_order failure, Where where = Where::current()) {
      if (fails_on_stale(expected, failure, where)) return false;
      return value_.compare_exchange(rl::bool_t<true>(), expected, desired, order(success),
                                     order(failure), info(where));
    }

    bool compare_exchange_weak(T& expected, T desired,
                               std::memory_order mo = std::memory_order::seq_cst,
                               Where where = Where::current()) {
      return compare_exchange_weak(expected, desired, mo, failure_of(mo), where);
    }

    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure, Where where = Where::current()) {
      if (fails_on_stale(expected, failure, where)) return false;
      return value_.compare_exchange(rl::bool_t<false>(), expected, desired, order(success),
                                     order(failure), info(where));
    }

    bool compare_exchange_strong(T& expected, T desired,
                                 std::memory_order mo = std::memory_order::seq_cst,
                                 Where where = Where::current()) {
      return compare_exchange_strong(expected, desired, mo, failure_of(mo), where);
    }

   private:
    friend struct RelacyAtomics;

    static std::memory_order failure_of(std::memory_order mo) {
      if (mo == std::memory_order::release) return std::memory_order::relaxed;
      return mo == std::memory_order::acq_rel ? std::memory_order::acquire : mo;
    }

    /// A failed compare-exchange is a load, and may read any value that a load may read.
    bool fails_on_stale(T& expected, std::memory_order failure, Where where) {
      if (!rl::ctx().is_random_sched() || rl::rand(4) != 0) return false;
      const T seen = value_.load(order(failure), info(where));
      if (seen == expected) return false;
      expected = seen;
      return true;
    }

    void wait(std::uint32_t low_half, Where where) const {
      rl::context& c = rl::ctx();
      c.sched();
      const Knowledge before = Knowledge::of_this_thread();
      Knowledge queued = before; // the waiters' queue is under a lock that each waker took
      queued.join(wakers_);
      queued.impose();
      c.disable_preemption(); // comparing and queueing are one step to wakers
      const T seen = value_.load(rl::mo_relaxed, info(where));
      c.enable_preemption();
      before.impose();
      if (static_cast<std::uint32_t>(seen) != low_half) return;
      const bool may_wake_early = c.is_random_sched() && rl::rand(8) == 0;
      value_.wait(c, false, may_wake_early, info(where));
      before.impose();
    }

    void wake(Where where) const {
      rl::context& c = rl::ctx();
      c.sched();
      wakers_.join(Knowledge::of_this_thread());
      value_.wake(c, c.get_thread_count(), info(where));
    }

    mutable rl::atomic<T> value_;
    mutable Knowledge wakers_; // what those who have woken knew when they did
  };

  template <class T> class var {
   public:
    var() : value_(T{}) {}

    explicit var(T value) : value_(value) {}

    [[nodiscard]] T get(Where where = Where::current()) const { return value_(info(where)).load(); }

    void set(T value, Where where = Where::current()) { value_(info(where)).store(value); }

   private:
    rl::var<T> value_;
  };

  static void fence(Where where = Where::current()) {
    rl::atomic_thread_fence(rl::mo_seq_cst, info(where));
  }

  /// No stronger than the language says: what x86 adds is not modelled.
  static void fence_after_rmw(Where where = Where::current()) { fence(where); }

  static void fence_acquire(Where where = Where::current()) {
    rl::atomic_thread_fence(rl::mo_acquire, info(where));
  }

  static void fence_release(Where where = Where::current()) {
    rl::atomic_thread_fence(rl::mo_release, info(where));
  }

  static void fence_light(Where where = Where::current()) { fence(where); }

  static void fence_heavy(Where where = Where::current()) { fence(where); }

  /// Like the kernel's futex: compares the low 32 bits and queues in one step.
  template <class T>
  static void wait_while(const atomic<T>& word, std::type_identity_t<T> value,
                         Where where = Where::current()) {
    word.wait(static_cast<std::uint32_t>(value), where);
  }

  template <class T> static void wake_all(const atomic<T>& word, Where where = Where::current()) {
    word.wake(where);
  }

  static void on_page_lock() {}

  static void on_page_unlock() {}
};

/// Stands in for mmu::Mutex.
class ModelMutex {
 public:
  void lock(Where where = Where::current()) { mutex_.lock(info(where)); }

  void unlock(Where where = Where::current()) { mutex_.unlock(info(where)); }

 private:
  rl::mutex mutex_;
};

/// Stands in for std::shared_mutex.
class ModelSharedMutex {
 public:
  ModelSharedMutex() { mutex_.init(true, false, false, false, info(Where::current())); }

  ~ModelSharedMutex() { mutex_.deinit(info(Where::current())); }

  ModelSharedMutex(const ModelSharedMutex&) = delete;
  ModelSharedMutex& operator=(const ModelSharedMutex&) = delete;

  void lock(Where where = Where::current()) { mutex_.lock_exclusive(info(where)); }

  void unlock(Where where = Where::current()) { mutex_.unlock_exclusive(info(where)); }

  void lock_shared(Where where = Where::current()) { mutex_.lock_shared(info(where)); }

  void unlock_shared(Where where = Where::current()) { mutex_.unlock_shared(info(where)); }

 private:
  struct Tag;
  rl::generic_mutex<Tag> mutex_;
};

/// A T of any alignment inside a test (relacy allocates tests with malloc), which can die before
/// the test does: every later access to its atomics is reported.
template <class T> class Placed {
 public:
  template <class... Args> explicit Placed(Args&&... args) {
    void* place = storage_;
    std::size_t space = sizeof(storage_);
    object_ = std::construct_at(static_cast<T*>(std::align(alignof(T), sizeof(T), place, space)),
                                std::forward<Args>(args)...);
  }

  ~Placed() {
    if (alive_) destroy();
  }

  Placed(const Placed&) = delete;
  Placed& operator=(const Placed&) = delete;

  void destroy() {
    alive_ = false;
    std::destroy_at(object_);
  }

  [[nodiscard]] bool alive() const { return alive_; }

  T& operator*() { return *object_; }

  T* operator->() { return object_; }

 private:
  alignas(16) std::byte storage_[sizeof(T) + alignof(T)];
  T* object_;
  bool alive_ = true;
};

} // namespace slat::model
