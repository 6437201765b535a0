// RCU for slat: liburcu's bulletproof flavour, which registers threads by itself.
//
// In short: a reader brackets its accesses with a ReadGuard and never sleeps inside; a writer
// publishes with a release store, unlinks the old object, and frees it after synchronize() or
// through call(). What a reader found inside its section then stays allocated until the section
// ends.
//
// Costs (2-CPU VM): a section some 2.5 ns; synchronize() tens of microseconds.
//
// Pointers are published and consumed with std::atomic release/acquire, not with liburcu's macros,
// which ThreadSanitizer cannot follow. For the same reason the end of a section and the end of a
// grace period are annotated in TSan builds. No sanitizer build inlines liburcu: it places its
// per-thread records at less than their declared alignment, which UBSan reports in our code.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define SLAT_RCU_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define SLAT_RCU_CALLS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLAT_RCU_TSAN 1
#elif __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define SLAT_RCU_CALLS 1
#endif
#endif

#include "mmu/reclaimer.hpp"

#ifndef SLAT_EXPLORE
#if !defined(SLAT_RCU_TSAN) && !defined(SLAT_RCU_CALLS) && !defined(_LGPL_SOURCE)
#define _LGPL_SOURCE // inlined read sections: 2.5 instead of 12 ns
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <urcu/urcu-bp.h>
#pragma GCC diagnostic pop
#endif

namespace slat::mmu::rcu {

namespace detail {
#ifdef SLAT_RCU_TSAN
void tsan_section_ends();
#else
inline void tsan_section_ends() {}
#endif
} // namespace detail

/// A read section. Nestable; must not sleep and must not wait for a grace period.
class ReadGuard {
 public:
#ifdef SLAT_EXPLORE
  ReadGuard() : section_(explore::rcu().read_lock()) {}

  ~ReadGuard() { explore::rcu().read_unlock(section_); }
#else
  ReadGuard() { urcu_bp_read_lock(); }

  ~ReadGuard() {
    detail::tsan_section_ends();
    urcu_bp_read_unlock();
  }
#endif

  ReadGuard(const ReadGuard&) = delete;
  ReadGuard& operator=(const ReadGuard&) = delete;

 private:
  NoSleep no_sleep_;
#ifdef SLAT_EXPLORE
  unsigned section_;
#endif
};

/// Sleeps until every read section that exists now has ended. Not inside a read section.
void synchronize();

/// Runs `function(head)` on another thread after a grace period; does not wait. See
/// Reclaimer::call().
void call(DeferredCall& head, void (*function)(DeferredCall*));

/// Sleeps until every earlier call() has run. Not inside a read section or a callback.
void barrier();

} // namespace slat::mmu::rcu
