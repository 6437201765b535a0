#include "mmu/thread_safety.hpp"

struct Guarded {
  slat::mmu::Mutex mutex;
  int value SLAT_GUARDED_BY(mutex) = 0;

  int read() {
#ifndef SLAT_OFFENCE
    const slat::mmu::MutexGuard guard(mutex);
#endif
    return value;
  }
};
