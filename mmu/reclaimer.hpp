// Deferred calls: a thread that gathers callbacks, waits for one grace period, and runs them. RCU
// and every SRCU domain that uses call() has one. (call_rcu's job; a thread of our own because TSan
// cannot follow liburcu's.)
#pragma once

#include "mmu/thread_safety.hpp"

#include <condition_variable>
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
  /// `synchronize` waits for a grace period of the domain served; it may sleep.
  explicit Reclaimer(std::function<void()> synchronize) : synchronize_(std::move(synchronize)) {}

  /// Runs everything queued, then ends the thread. No call() may be on its way.
  ~Reclaimer();
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;

  /// `function(head)` runs on the reclaimer's thread after a grace period that starts after this
  /// call. Does not wait for it; callable inside a read section. `head` lives until then.
  void call(DeferredCall& head, void (*function)(DeferredCall*)) SLAT_EXCLUDES(mutex_);

  /// Sleeps until every call() made before has run. Not inside a read section of the domain, and
  /// not from a callback.
  void barrier() SLAT_EXCLUDES(mutex_);

 private:
  void run() SLAT_EXCLUDES(mutex_);

  const std::function<void()> synchronize_;
  Mutex mutex_;
  std::condition_variable work_;
  std::condition_variable progress_;
  std::thread thread_ SLAT_GUARDED_BY(mutex_); // started by the first call()
  DeferredCall* head_ SLAT_GUARDED_BY(mutex_) = nullptr;
  DeferredCall** tail_ SLAT_GUARDED_BY(mutex_) = nullptr;
  std::uint64_t queued_ SLAT_GUARDED_BY(mutex_) = 0;
  std::uint64_t done_ SLAT_GUARDED_BY(mutex_) = 0;
  bool stopping_ SLAT_GUARDED_BY(mutex_) = false;
};

} // namespace slat::mmu
