#include "mmu/thread_safety.hpp"

void use(slat::mmu::Mutex& mutex) {
  const slat::mmu::MutexGuard guard(mutex);
#ifdef SLAT_OFFENCE
  const slat::mmu::MutexGuard again(mutex);
#endif
}
