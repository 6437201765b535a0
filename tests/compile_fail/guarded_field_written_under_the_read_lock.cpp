#include "mmu/mm_lock.hpp"

struct Guarded {
  slat::mmu::MmLock lock;
  int value SLAT_GUARDED_BY(lock) = 0;

  int use() {
    const slat::mmu::MmReadGuard guard(lock);
#ifdef SLAT_OFFENCE
    value = 1;
#endif
    return value;
  }
};
