// Faults of many vCPUs in one address space, with each design of VMA locks.
//
// A vCPU does nothing but fault on pages that are there:
//
//   SRCU section, lookup | take the lock | a tenth of the rest | drop it | the rest, install
//
// All of it is the processor's own, but for the accesses to the line that the lock is in:
//   mmap-lock     the one of the address space, whoever faults where
//   the others    the VMA's: shared by all in one VMA, and nobody else's with a VMA for each vCPU
// and, beyond the vCPUs that have a thread slot to themselves (mmu/thread_slot.hpp), the lines of the
// slot that all others share: SRCU's and the counters', two adds each.
#pragma once

#include "slat/scale/costs.hpp"

#include <optional>

namespace slat::tool::scale {

/// What the model takes for granted.
struct Assumptions {
  double far_factor = 2;
  unsigned node_cpus = 64;
  double per_waiter = .005;
  bool migratory = true;
  unsigned thread_slots = 63; // mmu::exclusive_thread_slots
  double serial_ns =
      0; // of each fault, one at a time: allocation, bandwidth, what else is left out
  double jitter = .1;
  std::uint64_t seed = 1;

  [[nodiscard]] Coherence coherence(const Costs& costs) const {
    return {costs[rmw], costs[transfer], far_factor, node_cpus, costs[keep], per_waiter, migratory};
  }
};

/// Accesses to the line of a lock, a letter each: 'r' read, 'a' add, 'c' compare-and-swap.
struct Touches {
  std::string_view lock;
  std::string_view unlock;
};

/// As the code has them: a load before a compare-and-swap is an access of its own.
[[nodiscard]] Touches touches_of(mmu::VmaLockDesign design);
/// The kernel's rwsem of the address space, and that of a VMA as it was first published.
inline constexpr Touches kernel_mmap_lock = {"a", "a"};
inline constexpr Touches kernel_vma_lock = {"rc", "a"};

struct FaultCase {
  Touches touches;
  double fault_ns;    // of one thread alone, with the lock
  double before_ns;   // of it, before the lock is taken
  bool shared;        // the line is everybody's
  unsigned vcpus = 1; // each on a processor of its own
};

/// The case of a design; without `installed` nothing is installed, as in the measurement.
[[nodiscard]] FaultCase fault_case(const Costs& costs, mmu::VmaLockDesign design, bool one_vma,
                                   unsigned vcpus, bool installed = true);

/// Faults per second of all vCPUs together. Deterministic.
[[nodiscard]] double faults_per_second(const Costs& costs, const Assumptions& assumptions,
                                       const FaultCase& what);

} // namespace slat::tool::scale
