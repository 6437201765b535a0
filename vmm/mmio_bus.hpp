// Memory-mapped I/O: which device an access outside guest RAM goes to.
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slat::vmm {

/// A device behind memory. Calls come from several vCPU threads at once: each device locks itself.
class MmioDevice {
 public:
  virtual ~MmioDevice() = default;
  /// `offset` bytes above the device's first; 1 to 8 bytes, none past its last. May sleep; must not fail.
  virtual void write(std::uint64_t offset, std::span<const std::byte> data) = 0;
  /// As write, and fills all of `data`.
  virtual void read(std::uint64_t offset, std::span<std::byte> data) = 0;
};

/// Routes accesses to devices. Attach everything first, then start the vCPUs: from then on the routes never change, so
/// that dispatch takes no lock.
class MmioBus {
 public:
  MmioBus() = default;
  MmioBus(const MmioBus&) = delete;
  MmioBus& operator=(const MmioBus&) = delete;

  /// Claims `range` for `device`, which must outlive the bus; `name` is for messages. Errc::invalid_argument where the
  /// range is empty, wraps, or overlaps a claimed one. Not while vCPUs run. Does not sleep.
  Result<void> attach(const GpaRange& range, MmioDevice& device, std::string_view name);

  /// False where no one device claims all of the access: nothing has happened then. Any thread; sleep only where the
  /// device does.
  [[nodiscard]] bool write(Gpa address, std::span<const std::byte> data) const;
  [[nodiscard]] bool read(Gpa address, std::span<std::byte> data) const;

 private:
  struct Route {
    GpaRange range;
    MmioDevice* device;
    std::string name;
  };

  [[nodiscard]] const Route* find(Gpa address, std::size_t size) const;

  std::vector<Route> routes_; // constant once vCPUs run
};

} // namespace slat::vmm
