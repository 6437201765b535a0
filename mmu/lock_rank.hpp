// Lock ranks: checked builds assert on every acquisition that locks are taken in the order of
// mmu/README.md's lock tree, on whichever path, whether or not two threads ever meet on it; and that
// nobody sleeps where it is forbidden (the kernel's lockdep, and might_sleep()). Release builds have
// none of it.
//
// A lock may be taken while every lock that the thread holds has a lower rank. So two locks of one
// rank never nest: not two address spaces' mm locks, and not two leaves.
#pragma once

#include "mmu/assert.hpp"

#include <cstdint>

namespace slat::mmu {

enum class LockRank : std::uint8_t {
  device,       // a device's registers, for whoever uses mmu/: held while its queues are stopped
  device_queue, // held while a device works, that is pins guest memory
  views,        // where guest views are; held while they change
  mm_lock,      // MmLock
  registration, // NotifierChain::mutex_
  gate,         // NotifierChain::gate_
  stage2,       // Stage2Table::turns_; held while it flushes
  grace_period, // Srcu::mutex_: one grace period at a time
  object_cache, // TypeStableCache::mutex_, under which a slab is handed to the reclaimer
  leaf,         // everything else: held for a few stores, nothing is taken under it
};

namespace lock_rank {

#ifdef SLAT_CHECKED
/// Before `lock` is waited for.
void acquiring(const void* lock, LockRank rank);
/// Once it is held. Also after a try_lock, which cannot deadlock and so needs no order.
void acquired(const void* lock, LockRank rank);
/// In any order.
void released(const void* lock);
#else
inline void acquiring(const void*, LockRank) {}

inline void acquired(const void*, LockRank) {}

inline void released(const void*) {}
#endif

} // namespace lock_rank

#ifdef SLAT_CHECKED
/// This thread may sleep now: it is in no NoSleep section. Called by whatever may sleep, whether or
/// not it does this time. Mutexes that are leaves, held for a few stores, do not count as sleeping.
void might_sleep();

/// A section that must not sleep: RCU read sections, callbacks of a range that is not blockable,
/// test_young. Nestable; on one thread.
class NoSleep {
 public:
  explicit NoSleep(bool forbidden = true);
  ~NoSleep();
  NoSleep(const NoSleep&) = delete;
  NoSleep& operator=(const NoSleep&) = delete;

 private:
  bool forbidden_;
};
#else
inline void might_sleep() {}

class NoSleep {
 public:
  explicit NoSleep(bool = true) {}

  ~NoSleep() {} // not trivial: a section without a use is no unused variable

  NoSleep(const NoSleep&) = delete;
  NoSleep& operator=(const NoSleep&) = delete;
};
#endif

} // namespace slat::mmu
