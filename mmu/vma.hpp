// Vma: one range of the guest view, one to one with a host mapping (vm_area_struct).
//
// Fields other than the lock are written while the VMA is detached or write-locked, and read under
// its read lock or the mm lock. Objects come from a type-stable cache and are recycled: see
// TypeStableCache.
#pragma once

#include "mmu/backing.hpp"
#include "mmu/vma_lock/vma_refcount.hpp"

#include <cstdint>

namespace slat::mmu {

enum VmFlags : std::uint32_t { vm_none = 0, vm_read = 1, vm_write = 2, vm_exec = 4 };

struct alignas(64) Vma {
  std::uintptr_t vm_start = 0; // bytes, page aligned
  std::uintptr_t vm_end = 0;   // exclusive
  std::uint64_t vm_pgoff = 0;  // page of the backing at vm_start
  std::uint32_t vm_flags = vm_none;
  Backing* vm_backing = nullptr; // with a reference while attached

  // A cache line of its own: readers write it, and must not slow down those who only look at the
  // fields.
  alignas(64) VmaRefcount lock;

  [[nodiscard]] bool contains(std::uintptr_t address) const {
    return vm_start <= address && address < vm_end;
  }

  /// The page of the backing behind `address`.
  [[nodiscard]] std::uint64_t page_of(std::uintptr_t address) const {
    return vm_pgoff + ((address - vm_start) >> page_shift);
  }
};

static_assert(sizeof(Vma) == 128);

} // namespace slat::mmu
