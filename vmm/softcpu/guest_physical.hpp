// GuestPhysical: what the software vCPU needs from whoever owns guest physical memory (stage 2).
//
// Two halves, as in hardware: a lookup in guest mode, and a fault out of guest mode after which the instruction starts
// again from its beginning. So a pointer is used only between two polls of the vCPU's VcpuFlush, and nobody who takes
// a page away ever waits for a fault.
#pragma once

#include "mmu/fault.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::vmm::softcpu {

enum class Access : std::uint8_t { read, write, execute };

class GuestPhysical {
 public:
  enum class Kind : std::uint8_t {
    memory, // `host` is the page
    device, // nothing there, or a device: the access is an MMIO exit
    absent, // a stage-2 fault
  };

  struct Page {
    Kind kind;
    std::byte* host; // 4 KiB, aligned; good for this access and no other
  };

  virtual ~GuestPhysical() = default;
  /// The page at `gpa` (4 KiB aligned) for this access, as it is now. In guest mode on the vCPU's thread; no lock is
  /// held or taken, and it does not sleep. The pointer may be used until the vCPU has acknowledged a flush.
  [[nodiscard]] virtual Page translate(std::uint64_t gpa, Access access) = 0;
  /// Takes the stage-2 fault that translate() found. Out of guest mode on the vCPU's thread, with no lock held; may
  /// sleep. `done`: the access may succeed now, or be absent again. Anything else: the page cannot be had.
  [[nodiscard]] virtual mmu::FaultResult fault(std::uint64_t gpa, Access access) = 0;
};

} // namespace slat::vmm::softcpu
