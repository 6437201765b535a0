#include "mmu/mmu_gather.hpp"

void finish(slat::mmu::MmuGather& gather) {
#ifdef SLAT_OFFENCE
  gather.free();
#else
  gather.flush().free();
#endif
}
