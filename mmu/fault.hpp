// The fault path: one guest memory access that missed in a secondary MMU. Read fault.cpp from top
// to bottom.
#pragma once

#include "mmu/secondary_mmu.hpp"
#include "mmu/vma.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace slat::mmu {

class AddressSpace;

enum class FaultResult {
  done,
  retry,     // something changed underneath: start again; nothing is held
  wait,      // somebody owns the page, or invalidates the range: wait for it, then start again
  no_vma,    // nothing is mapped there
  denied,    // the VMA does not allow the access
  poisoned,  // the page's source failed; its content is lost
  no_memory, // the host has none
  failed,    // the secondary MMU could not install, for no reason that a retry would mend
};

[[nodiscard]] std::string_view to_string(FaultResult result);

struct FaultRequest {
  std::uintptr_t address = 0;     // in the guest view, any alignment
  std::uint32_t access = vm_read; // VmFlags
  SecondaryMmu* mmu = nullptr;    // nullptr: only make the page present
  std::uintptr_t around_start =
      0; // pages that may be filled and installed along with it, page aligned;
  std::uintptr_t around_end = 0; // empty for none. Clipped to the VMA.
};

struct FaultOutcome {
  FaultResult result = FaultResult::done;
  std::uintptr_t installed_start = 0; // what this fault installed, including neighbours
  std::uintptr_t installed_end = 0;
};

/// Resolves a fault: returns when the page is present and installed, or with the reason why it
/// cannot be. May sleep, for a page source, for another thread's fill or for a range in progress.
/// No lock of mmu/ may be held, and the caller is not inside a range of its own. Any number of
/// threads.
FaultOutcome handle_mm_fault(AddressSpace& mm, const FaultRequest& request);

} // namespace slat::mmu
