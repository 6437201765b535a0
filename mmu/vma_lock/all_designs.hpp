// The four designs, and how to instantiate something for each of them.
#pragma once

#include "mmu/vma_lock/mmap_lock.hpp"
#include "mmu/vma_lock/per_vma_lock.hpp"
#include "mmu/vma_lock/speculative.hpp"

// SLAT_FOR_EACH_DESIGN(M): M(Design) four times.
#define SLAT_FOR_EACH_DESIGN(M) M(MmapLock) M(Speculative) M(PerVmaRwsem) M(PerVmaRefcount)
