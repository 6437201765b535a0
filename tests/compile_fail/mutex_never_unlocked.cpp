#include "mmu/thread_safety.hpp"

void use(slat::mmu::Mutex& mutex) {
  mutex.lock();
#ifndef SLAT_OFFENCE
  mutex.unlock();
#endif
}
