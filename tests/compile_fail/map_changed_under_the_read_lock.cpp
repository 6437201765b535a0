#include "mmu/vma_change.hpp"
#include "mmu/vma_lock/mmap_lock.hpp"

void change(slat::mmu::MmapLock& design) {
#ifdef SLAT_OFFENCE
  const slat::mmu::MmReadGuard guard(design.mm_lock);
#else
  const slat::mmu::MmWriteGuard<slat::mmu::MmapLock> guard(design);
#endif
  const slat::mmu::VmaChange<slat::mmu::MmapLock> change(design);
}
