// What a host that is short of memory for a moment gets: to be asked again. Memory that is being reclaimed comes, and to
// end the guest, or a device's work, is worse than to have it wait.
#pragma once

#include "mmu/address_space.hpp"
#include "mmu/fault.hpp"

#include <chrono>
#include <thread>

namespace slat::vmm {

/// For one access: about a second in ten naps, each twice as long as the last.
class Patience {
 public:
  explicit Patience(mmu::AddressSpace& mm) : mm_(&mm) {}

  /// Sleeps and is true, or there is none left. No lock may be held.
  [[nodiscard]] bool wait() {
    if (nap_ > std::chrono::milliseconds(512)) return false;
    mm_->counters().add(mmu::Counter::fault_no_memory_count);
    std::this_thread::sleep_for(nap_);
    nap_ *= 2;
    return true;
  }

 private:
  mmu::AddressSpace* mm_;
  std::chrono::milliseconds nap_{1};
};

/// handle_mm_fault() for a guest's access.
[[nodiscard]] inline mmu::FaultOutcome handle_fault_patiently(mmu::AddressSpace& mm,
                                                              const mmu::FaultRequest& request) {
  for (Patience patience(mm);;) {
    const mmu::FaultOutcome outcome = mmu::handle_mm_fault(mm, request);
    if (outcome.result != mmu::FaultResult::no_memory || !patience.wait()) return outcome;
  }
}

} // namespace slat::vmm
