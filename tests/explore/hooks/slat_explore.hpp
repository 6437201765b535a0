// What mmu/ is compiled against for exploration (SLAT_EXPLORE): atomics, locks, waits and grace periods
// that a scheduler owns. Each operation on shared state is a schedule point: the thread says what it is
// about to do and goes on when it is chosen. One thread runs at a time, so everything is sequentially
// consistent; weak memory is the business of tests/model.
//
// Outside of an execution (setup, checks, threads that are not explored) nothing is a schedule point, and
// whatever would wait is a failure.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <source_location>
#include <vector>

namespace slat::explore {

enum class Access : std::uint8_t { none, read, write };

enum class Kind : std::uint8_t {
  plain,
  blocking, // enabled by other threads' releases
  release,  // never enabled together with what it enables
  resume, // goes on after a wait; races with nothing. With an object: comes after all that was done to it
};

/// What a thread does next.
struct Operation {
  const void* object = nullptr; // what it touches
  const char* name = "";
  Access access = Access::none;
  Kind kind = Kind::plain;
  bool (*ready)(const void* argument) = nullptr; // nullptr: always
  const void* argument = nullptr;
  std::size_t bytes = 1; // of the object: more only where it is freed
  std::source_location where{};
};

/// Returns when it is the calling thread's turn and the operation is ready; the caller then does it.
void point(const Operation& operation);

/// The same for an access that never waits.
inline void visible(const void* object, Access access, const char* name,
                    const std::source_location& where) {
  point({object, name, access, Kind::plain, nullptr, nullptr, 1, where});
}

/// Goes on once another thread has written something, or cannot: for loops that try again.
void yield();

/// A futex: sleeps if the word's 32 bits are `value`, until wake_word().
void wait_word(const void* word, std::uint32_t value);
void wake_word(const void* word);

/// Ends the process with the schedule that led here, while there is a scheduler; else returns.
void failed(const char* what, const char* file, int line);

/// True if the calling thread is explored: then freeing the block is a schedule point; it is poisoned, and freed
/// at the end of the execution. Until then a schedule point on it is a failure.
bool retire(void* block);

template <class T> class Atomic {
  using Where = std::source_location;
  using Order = std::memory_order;

 public:
  static constexpr bool is_always_lock_free = std::atomic<T>::is_always_lock_free;

  constexpr Atomic() noexcept = default;

  constexpr Atomic(T value) noexcept : value_(value) {} // implicit, as std::atomic's is

  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(Order = std::memory_order_seq_cst, Where where = Where::current()) const {
    visible(this, Access::read, "load", where);
    return value_.load();
  }

  void store(T value, Order = std::memory_order_seq_cst, Where where = Where::current()) {
    visible(this, Access::write, "store", where);
    value_.store(value);
  }

  T exchange(T value, Order = std::memory_order_seq_cst, Where where = Where::current()) {
    visible(this, Access::write, "exchange", where);
    return value_.exchange(value);
  }

  bool compare_exchange_strong(T& expected, T desired, Order = std::memory_order_seq_cst,
                               Order = std::memory_order_seq_cst, Where where = Where::current()) {
    visible(this, Access::write, "compare_exchange", where);
    return value_.compare_exchange_strong(expected, desired);
  }

  /// Never fails for no reason.
  bool compare_exchange_weak(T& expected, T desired, Order = std::memory_order_seq_cst,
                             Order = std::memory_order_seq_cst, Where where = Where::current()) {
    return compare_exchange_strong(expected, desired, Order{}, Order{}, where);
  }

  T fetch_add(T amount, Order = std::memory_order_seq_cst, Where where = Where::current()) {
    visible(this, Access::write, "fetch_add", where);
    return value_.fetch_add(amount);
  }

  T fetch_sub(T amount, Order = std::memory_order_seq_cst, Where where = Where::current()) {
    visible(this, Access::write, "fetch_sub", where);
    return value_.fetch_sub(amount);
  }

  T fetch_or(T bits, Order = std::memory_order_seq_cst, Where where = Where::current()) {
    visible(this, Access::write, "fetch_or", where);
    return value_.fetch_or(bits);
  }

  T fetch_and(T bits, Order = std::memory_order_seq_cst, Where where = Where::current()) {
    visible(this, Access::write, "fetch_and", where);
    return value_.fetch_and(bits);
  }

 private:
  std::atomic<T> value_{};
};

/// Plain data that a protocol guards. Accesses are schedule points, so that a broken protocol shows.
template <class T> class Plain {
 public:
  Plain() = default;

  explicit Plain(T value) : value_(value) {}

  [[nodiscard]] T get() const {
    visible(this, Access::read, "get", std::source_location::current());
    return value_;
  }

  void set(T value) {
    visible(this, Access::write, "set", std::source_location::current());
    value_ = value;
  }

 private:
  T value_{};
};

/// The same, used like a T.
template <class T> class Field {
 public:
  Field(T value = T{}) : value_(value) {} // implicit, as a T is

  Field(const Field&) = delete;

  Field& operator=(T value) {
    value_.set(value);
    return *this;
  }

  Field& operator=(const Field& other) { return *this = T(other); }

  operator T() const { return value_.get(); }

  T operator->() const { return value_.get(); }

 private:
  Plain<T> value_;
};

/// In place of std::mutex.
class NativeMutex {
 public:
  NativeMutex() = default;
  NativeMutex(const NativeMutex&) = delete;
  NativeMutex& operator=(const NativeMutex&) = delete;

  void lock();
  bool try_lock();
  void unlock();

 private:
  static bool is_free(const void* mutex) { return !static_cast<const NativeMutex*>(mutex)->held_; }

  bool held_ = false;
};

/// In place of std::condition_variable. No spurious wake-ups, and deadlines never pass.
class NativeCondition {
 public:
  void wait(std::unique_lock<NativeMutex>& lock);
  void notify_one();
  void notify_all();

  template <class TimePoint>
  std::cv_status wait_until(std::unique_lock<NativeMutex>& lock, TimePoint) {
    wait(lock);
    return std::cv_status::no_timeout;
  }
};

/// In place of a pthread_rwlock that prefers writers.
class NativeRwLock {
 public:
  NativeRwLock() = default;
  NativeRwLock(const NativeRwLock&) = delete;
  NativeRwLock& operator=(const NativeRwLock&) = delete;

  void lock();
  void unlock();
  void lock_shared();
  bool try_lock_shared();
  void unlock_shared();

 private:
  bool written_ = false;
  unsigned readers_ = 0;
  unsigned waiting_writers_ = 0;
};

/// A domain of read sections and their grace periods, in place of SrcuCore and of liburcu. A grace period
/// ends when every section that began before it has ended.
class GracePeriods {
 public:
  explicit GracePeriods(std::uint32_t = 0) {}

  GracePeriods(const GracePeriods&) = delete;
  GracePeriods& operator=(const GracePeriods&) = delete;

  [[nodiscard]] unsigned read_lock(unsigned = 0);
  void read_unlock(unsigned section, unsigned = 0);
  void synchronize();

  [[nodiscard]] std::uint32_t readers() const { return std::uint32_t(sections_.size()); }

 private:
  struct Wait; // one grace period

  struct Section {
    unsigned number;
    unsigned grace_periods; // begun before it
  };

  std::vector<Section> sections_; // ascending
  unsigned next_ = 0;
  unsigned grace_periods_ = 0;
  // Addresses that stand for the ends of sections that began between one grace period and the next: a later
  // one comes after them, and after no others.
  char ends_[64]{};
};

/// RCU's domain.
[[nodiscard]] GracePeriods& rcu();

} // namespace slat::explore
