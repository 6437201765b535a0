#include "mmu/address_space.hpp"

void change(slat::mmu::AddressSpace& mm) {
#ifdef SLAT_OFFENCE
  mm.unmap(0x1000, 0x1000);
#else
  (void)mm.unmap(0x1000, 0x1000);
#endif
}
