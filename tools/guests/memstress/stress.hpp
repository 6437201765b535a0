// State that the vCPUs of memstress share, and the report of what went wrong.
#pragma once

#include "guests/abi.hpp"
#include "guests/memory_plan.hpp"
#include "guests/memstress_options.hpp"
#include "guests/page_pattern.hpp"
#include "guests/runtime/machine.hpp"

#include <cstdint>

extern "C" slat::guest::Mailbox slat_mailbox;

namespace slat::guest {

/// Filled by vCPU 0; the others read it after `ready` (acquire, pairs with vCPU 0's release).
struct Stress {
  MemstressOptions options;
  MemoryPlan plan;
  Pattern pattern{0};
  std::uint32_t vcpus = 0;
  std::uint32_t ready = 0;
  std::uint32_t arrived = 0; // at barriers, summed over all of them
  std::uint64_t tsc_khz = 0;
};

extern Stress stress;

/// Waits, spinning, until all vCPUs have called it as often as this one. `phase` counts a vCPU's
/// calls.
void barrier(std::uint32_t& phase);

[[nodiscard]] inline std::uint64_t* memory(std::uint64_t address) {
  return reinterpret_cast<std::uint64_t*>(address); // NOLINT(performance-no-int-to-ptr)
}

[[nodiscard]] inline std::uint32_t page_number(std::uint64_t address) {
  return static_cast<std::uint32_t>(address / page_size);
}

[[nodiscard]] inline LedgerEntry* ledger_of(std::uint64_t vcpu) {
  const std::uint64_t address = stress.plan.ledgers + vcpu * stress.plan.ledger_stride;
  return reinterpret_cast<LedgerEntry*>(memory(address));
}

/// Counts a bad page for `vcpu`; the first of the run is classified and recorded. `single`: only
/// that word of the page means anything.
void report_page(std::uint32_t vcpu, std::uint64_t address, PageId expected, PageCheck check,
                 bool single);

/// The same for a page that was given up when it held `old`, and must be zero.
void report_discarded(std::uint32_t vcpu, std::uint64_t address, PageId old, PageCheck check);

/// The same for a counter: `offset` in bytes into the page at `address`.
void report_counter(std::uint32_t vcpu, std::uint64_t address, std::uint64_t offset,
                    std::uint64_t expected, std::uint64_t found);

/// Records it if it is the run's first, without counting a mismatch.
void record_counter(std::uint32_t vcpu, std::uint64_t address, std::uint64_t offset,
                    std::uint64_t expected, std::uint64_t found);

} // namespace slat::guest
