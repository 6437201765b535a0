// The atomics policy. Protocol headers are templates over it, so that the very header that runs in
// production also runs under a model checker, which supplies another policy with the same members.
//
// A policy has: atomic<T>; var<T> (plain data that a protocol guards); fence(), a seq_cst fence; fence_after_rmw();
// fence_acquire(), fence_release(); the asymmetric pair fence_light()/fence_heavy(); wait_while()/wake_all() on a 32-bit word or the
// low half of a 64-bit one; and hooks that checked builds use to know how many page locks a thread
// holds.
#pragma once

#include "mmu/lock_rank.hpp"

#include <atomic>
#include <cstdint>

#ifdef SLAT_EXPLORE
#include <slat_explore.hpp> // tests/explore: every access a schedule point
#endif

namespace slat::mmu {

/// True once the kernel has agreed to private expedited membarriers: then fence_light() is free and
/// fence_heavy() interrupts the CPUs that run this process. Otherwise both are plain seq_cst
/// fences.
extern const bool asymmetric_fences;

namespace detail {
void membarrier_or_abort();
void futex_wait(const void* word, std::uint32_t value);
void futex_wake_all(const void* word);
} // namespace detail

/// Before a loop that waits for other threads without sleeping goes round again. The explorer runs them
/// first; otherwise nothing.
inline void before_retry() {
#ifdef SLAT_EXPLORE
  explore::yield();
#endif
}

/// Says that memory that others may free is read here, where no atomic says so. For the explorer; otherwise
/// nothing.
inline void reads_shared([[maybe_unused]] const void* object) {
#ifdef SLAT_EXPLORE
  explore::visible(object, explore::Access::read, "read", std::source_location::current());
#endif
}

/// Between two sections of a long walk that waits for nobody. The kernel preempts a thread wherever it is, so all there is
/// to give up is the section itself; sched_yield() would hand the rest of the time slice to whoever else wants the CPU,
/// section for section. For the explorer; otherwise nothing.
inline void between_sections() {
  before_retry();
}

/// How many page locks this thread holds; kept in checked builds only (I24).
int& page_locks_held();

struct StdAtomics {
#ifdef SLAT_EXPLORE
  template <class T> using atomic = explore::Atomic<T>;
#else
  template <class T> using atomic = std::atomic<T>;
#endif

#ifdef SLAT_EXPLORE
  template <class T> using var = explore::Plain<T>;
#else
  template <class T> class var {
   public:
    var() = default;

    explicit var(T value) : value_(value) {}

    [[nodiscard]] T get() const { return value_; }

    void set(T value) { value_ = value; }

   private:
    T value_{};
  };
#endif

  /// Orders everything before it with everything after it, stores before loads included. Each use
  /// names its pair.
  static void fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

  /// fence(), for a thread whose last write was a read-modify-write that succeeded: on x86 that is a
  /// full barrier already, and only the compiler is to be held back (smp_mb__after_atomic).
  static void fence_after_rmw() {
#if defined(__x86_64__)
    std::atomic_signal_fence(std::memory_order_seq_cst);
#else
    fence();
#endif
  }

  /// Orders loads before it with everything after it: what a reader of a sequence needs before it
  /// looks at the sequence again. Free on x86.
  static void fence_acquire() { std::atomic_thread_fence(std::memory_order_acquire); }

  /// Orders everything before it with stores after it. Free on x86.
  static void fence_release() { std::atomic_thread_fence(std::memory_order_release); }

  /// fence_light() on the frequent side pairs with fence_heavy() on the rare side as if both were
  /// fence().
  static void fence_light() {
    if (asymmetric_fences) [[likely]]
      std::atomic_signal_fence(std::memory_order_seq_cst);
    else
      fence();
  }

  static void fence_heavy() {
    if (asymmetric_fences) [[likely]]
      detail::membarrier_or_abort();
    else
      fence();
  }

  /// Sleeps while the word's (low) 32 bits equal `value`; may return early, so callers loop. Orders
  /// nothing.
  static void wait_while(const atomic<std::uint32_t>& word, std::uint32_t value) {
    might_sleep();
    detail::futex_wait(&word, value);
  }

  static void wait_while(const atomic<std::uint64_t>& word, std::uint64_t value) {
    might_sleep();
    detail::futex_wait(
        &word, static_cast<std::uint32_t>(value)); // little endian: the low half comes first
  }

  template <class T> static void wake_all(const atomic<T>& word) { detail::futex_wake_all(&word); }

#ifdef SLAT_CHECKED
  static void on_page_lock() { ++page_locks_held(); }

  static void on_page_unlock() { --page_locks_held(); }
#else
  static void on_page_lock() {}

  static void on_page_unlock() {}
#endif
};

static_assert(sizeof(std::atomic<std::uint64_t>) == 8 &&
              std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<std::uint32_t>) == 4 &&
              std::atomic<std::uint32_t>::is_always_lock_free);

} // namespace slat::mmu
