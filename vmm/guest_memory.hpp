// What loaders and devices see of guest RAM: bytes at guest physical addresses.
#pragma once

#include "vmm/error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace slat::vmm {

using Gpa = std::uint64_t; // guest physical address, in bytes

struct GpaRange {
  Gpa start;
  std::uint64_t size; // bytes
};

class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  /// The RAM, ascending; a hole below 4 GiB belongs to devices where RAM is larger than 3 GiB.
  [[nodiscard]] virtual std::span<const GpaRange> ranges() const = 0;
  /// Copies in or out. May sleep. The whole span must be RAM, otherwise nothing is copied and
  /// Errc::out_of_guest_memory is returned. Safe at any time, also while the guest runs and while its memory
  /// is being taken away: the bytes go through the fault path and its page locks.
  virtual Result<void> write(Gpa address, std::span<const std::byte> bytes) = 0;
  virtual Result<void> read(Gpa address, std::span<std::byte> bytes) = 0;
};

} // namespace slat::vmm
