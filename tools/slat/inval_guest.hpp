// A memstress guest that a test of `slat inval` drives.
#pragma once

#include "slat/inval.hpp"
#include "slat/memory_digest.hpp"
#include "vmm/machine.hpp"

#include <memory>
#include <string>

namespace slat::tool {

class InvalGuest {
 public:
  /// A machine of the cell with memstress and `command_line` (the seed is added), not yet started. RAM is in regions of
  /// `memory_slot` bytes at most (0: any), with `spare_memory` bytes to migrate to.
  static vmm::Result<std::unique_ptr<InvalGuest>>
  make(const InvalCell& cell, const std::string& command_line, std::uint64_t memory_slot = 0,
       std::uint32_t fault_around = 16, std::uint64_t spare_memory = 0);

  [[nodiscard]] vmm::Machine& machine() { return *machine_; }

  [[nodiscard]] vmm::GuestRam& ram() { return machine_->ram(); }

  /// Page visits of all vCPUs so far.
  [[nodiscard]] std::uint64_t visits();

  [[nodiscard]] std::uint64_t tested_pages();

  /// Starts it, and sleeps until its work has begun; false if it ends first, is interrupted, or 60 s have passed.
  [[nodiscard]] bool start(InvalContext& context);

  /// Sleeps until the vCPUs have visited so many pages more; false as start().
  [[nodiscard]] bool wait_for_visits(InvalContext& context, std::uint64_t more);

  /// The same until every vCPU has gone over its share so many times more.
  [[nodiscard]] bool wait_for_passes(InvalContext& context, std::uint64_t more);

  /// Sleeps for the cell's time, showing progress; ends early if the guest ends or is interrupted.
  void work(InvalContext& context, double seconds);

  /// Asks the guest to verify and to end, if `ask`, and waits for its end. Passed, or what was wrong.
  [[nodiscard]] InvalOutcome finish(InvalContext& context, bool ask = true);

  /// How it ended, after finish().
  [[nodiscard]] const vmm::MachineEnd& end() const { return end_; }

 private:
  /// Until `reached(mailbox)`; false as start(), with `what` has not come.
  template <class Reached>
  bool wait_for(InvalContext& context, const std::string& what, Reached reached);

  std::unique_ptr<vmm::Machine> machine_;
  vmm::MachineEnd end_;
  std::string why_not_;
};

/// Why a machine could not be had: skipped where the host lacks something, else failed.
[[nodiscard]] InvalOutcome no_machine(const vmm::Error& error);

} // namespace slat::tool
