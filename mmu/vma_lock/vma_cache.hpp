// The caches that VMAs come from: one of each kind for the whole process, as the kernel has one
// vm_area_cachep. Address spaces exchange objects through it.
#pragma once

#include "mmu/type_stable_cache.hpp"

namespace slat::mmu {

/// Never destroyed: an address space may be the last thing that a process takes down.
template <class Vma> TypeStableCache<Vma>& vma_cache() {
  static auto* const cache = new TypeStableCache<Vma>;
  return *cache;
}

} // namespace slat::mmu
