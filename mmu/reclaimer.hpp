// Deferred calls: a thread that gathers callbacks, waits for one grace period, and runs them. RCU
// and every SRCU domain that uses call() has one. (call_rcu's job; a thread of our own because TSan
// cannot follow liburcu's.)
//
// A call that finds the thread idle wakes it, which costs a system call. After each batch the thread
// therefore gathers for a millisecond, in which calls only queue, before it looks again and, if
// there was none, goes idle. barrier() and a long queue cut that short.
#pragma once

#include "mmu/thread_safety.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

namespace slat::mmu {

/// Embedded in what is to be freed (the kernel's rcu_head).
struct DeferredCall {
  DeferredCall* next = nullptr;
  void (*function)(DeferredCall*) = nullptr;
};

class Reclaimer {
 public:
  static constexpr std::chrono::microseconds default_gather{1000};

  /// `synchronize` waits for a grace period of the domain served; it may sleep. `gather`: for how
  /// long calls are gathered after a batch.
  explicit Reclaimer(std::function<void()> synchronize,
                     std::chrono::microseconds gather = default_gather)
      : synchronize_(std::move(synchronize)), gather_(gather) {}

  /// Runs everything queued, then ends the thread. No call() may be on its way.
  ~Reclaimer();
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;

  /// `function(head)` runs on the reclaimer's thread after a grace period that starts after this
  /// call. Does not wait for it; callable inside a read section. `head` lives until then. One head may
  /// stand for a whole chain of things to free. Never fails: while the host has no thread for us, the
  /// next call(), barrier() or the destructor sees to what is queued.
  void call(DeferredCall& head, void (*function)(DeferredCall*)) SLAT_EXCLUDES(mutex_);

  /// Sleeps until every call() made before has run. Not inside a read section of the domain, and
  /// not from a callback.
  void barrier() SLAT_EXCLUDES(mutex_);

  /// Runs what is queued and ends the thread for good: from here on barrier() runs what is called, on
  /// its caller's. Sleeps. For an object that outlives main().
  void end_thread() SLAT_EXCLUDES(mutex_);

  static constexpr std::uint64_t most_gathered = 1000; // calls; the thread does not wait for more

 private:
  enum class Sleep { awake, gathering, until_called };

  void start() SLAT_REQUIRES(mutex_);
  void run() SLAT_EXCLUDES(mutex_);
  void run_batch(DeferredCall* batch) SLAT_EXCLUDES(mutex_);
  [[nodiscard]] DeferredCall* next_batch() SLAT_EXCLUDES(mutex_);
  [[nodiscard]] DeferredCall* take() SLAT_REQUIRES(mutex_);
  void hurry() SLAT_REQUIRES(mutex_);

  const std::function<void()> synchronize_;
  const std::chrono::microseconds gather_;
  Mutex mutex_;
  ConditionVariable work_; // hurry_ or stopping_
  ConditionVariable progress_;
  std::thread thread_ SLAT_GUARDED_BY(mutex_); // started by the first call()
  DeferredCall* head_ SLAT_GUARDED_BY(mutex_) = nullptr;
  DeferredCall** tail_ SLAT_GUARDED_BY(mutex_) = &head_;
  Sleep sleep_ SLAT_GUARDED_BY(mutex_) = Sleep::awake;
  bool hurry_ SLAT_GUARDED_BY(mutex_) = true; // take what there is; the first call does not gather
  std::uint64_t queued_ SLAT_GUARDED_BY(mutex_) = 0;
  std::uint64_t taken_ SLAT_GUARDED_BY(mutex_) = 0;
  std::uint64_t done_ SLAT_GUARDED_BY(mutex_) = 0;
  bool stopping_ SLAT_GUARDED_BY(mutex_) = false;
};

} // namespace slat::mmu
