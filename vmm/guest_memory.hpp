// What loaders and devices see of guest RAM: bytes at guest physical addresses.
#pragma once

#include "vmm/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace slat::vmm {

using Gpa = std::uint64_t; // guest physical address, in bytes

class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  /// Bytes of RAM below the end of the highest region; RAM is contiguous from 0 in slat's machines so far.
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// Copies in or out. May sleep. The whole span must be RAM, otherwise nothing is copied and
  /// Errc::out_of_guest_memory is returned. Safe at any time, also while the guest runs and while its memory
  /// is being taken away: the bytes go through the fault path and its page locks.
  virtual Result<void> write(Gpa address, std::span<const std::byte> bytes) = 0;
  virtual Result<void> read(Gpa address, std::span<std::byte> bytes) = 0;
};

} // namespace slat::vmm
