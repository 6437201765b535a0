#include "mmu/vma_lock/design.hpp"

namespace slat::mmu {

std::string_view to_string(VmaLockDesign design) {
  switch (design) {
  case VmaLockDesign::mmap_lock:
    return "mmap-lock";
  case VmaLockDesign::spf:
    return "spf";
  case VmaLockDesign::vma_rwsem:
    return "vma-rwsem";
  case VmaLockDesign::vma_refcount:
    return "vma-refcount";
  }
  return "?";
}

std::optional<VmaLockDesign> vma_lock_design(std::string_view name) {
  for (const VmaLockDesign design : all_vma_lock_designs)
    if (to_string(design) == name) return design;
  return std::nullopt;
}

} // namespace slat::mmu
