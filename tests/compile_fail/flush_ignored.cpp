#include "mmu/mmu_gather.hpp"

void finish(slat::mmu::MmuGather& gather) {
#ifdef SLAT_OFFENCE
  gather.flush();
#else
  gather.flush().keep();
#endif
}
