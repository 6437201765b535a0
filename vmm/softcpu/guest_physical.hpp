// GuestPhysical: what the software vCPU needs from whoever owns guest physical memory (stage 2).
#pragma once

#include <cstddef>
#include <cstdint>

namespace slat::vmm::softcpu {

enum class Access : std::uint8_t { read, write, execute };

class GuestPhysical {
 public:
  enum class Kind : std::uint8_t {
    memory, // `host` is the page
    device, // nothing there, or a device: the access is an MMIO exit
    failed, // the page cannot be had (poisoned, no memory): the guest stops
  };

  struct Page {
    Kind kind;
    bool writable;   // false: the next write asks again; if it is still false, it is an MMIO exit
    std::byte* host; // 4 KiB, aligned
  };

  virtual ~GuestPhysical() = default;
  /// The page at `gpa` (4 KiB aligned) for this access; takes the stage-2 fault if there is one. May sleep. Called on
  /// the vCPU's thread with no lock held. The pointer is used until the vCPU has flushed its TLB after
  /// Cpu::request_flush(); a request made after this call began also covers what it returns.
  [[nodiscard]] virtual Page translate(std::uint64_t gpa, Access access) = 0;
};

} // namespace slat::vmm::softcpu
