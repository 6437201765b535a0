// A guest's fault on a host that may be short of memory for a moment.
#pragma once

#include "mmu/address_space.hpp"
#include "mmu/fault.hpp"

#include <chrono>
#include <thread>

namespace slat::vmm {

/// handle_mm_fault(); where the host has no memory, it is asked again, for about a second: memory that is being reclaimed
/// comes, and to end the guest is worse than to have it wait.
[[nodiscard]] inline mmu::FaultOutcome handle_fault_patiently(mmu::AddressSpace& mm,
                                                              const mmu::FaultRequest& request) {
  using std::chrono::milliseconds;
  mmu::FaultOutcome outcome = mmu::handle_mm_fault(mm, request);
  for (milliseconds nap(1);
       outcome.result == mmu::FaultResult::no_memory && nap <= milliseconds(512); nap *= 2) {
    mm.counters().add(mmu::Counter::fault_no_memory_count);
    std::this_thread::sleep_for(nap);
    outcome = mmu::handle_mm_fault(mm, request);
  }
  return outcome;
}

} // namespace slat::vmm
