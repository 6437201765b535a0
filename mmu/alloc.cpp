#include "mmu/alloc.hpp"

#include <utility>

#ifdef SLAT_EXPLORE
#include <slat_explore.hpp>
#endif

#ifdef SLAT_MIMALLOC
#include <mimalloc.h>
#else
#include <cstdlib>
#endif

namespace slat::mmu {

namespace {
thread_local unsigned fail_countdown = 0;
} // namespace

unsigned fail_allocation(unsigned n) {
  return std::exchange(fail_countdown, n);
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (fail_countdown != 0 && --fail_countdown == 0) [[unlikely]]
    return nullptr;
#ifdef SLAT_MIMALLOC
  return mi_malloc_aligned(bytes, alignment);
#else
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#endif
}

void deallocate(void* block) {
#ifdef SLAT_EXPLORE
  if (explore::retire(block)) return;
#endif
#ifdef SLAT_MIMALLOC
  mi_free(block);
#else
  std::free(block);
#endif
}

} // namespace slat::mmu
