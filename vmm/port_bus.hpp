// Port I/O: which device an in or out instruction goes to.
#pragma once

#include "vmm/error.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slat::vmm {

/// A device behind ports. Calls come from several vCPU threads at once: each device locks itself.
class PortDevice {
 public:
  virtual ~PortDevice() = default;
  /// One exit: `data` is a whole number of units of `unit` (1, 2 or 4) bytes, all for the register
  /// at `offset` ports above the device's first; more than one unit is a string instruction, in
  /// order. An access that begins in the device's ports and reaches past them is still the
  /// device's. May sleep; must not fail.
  virtual void write(std::uint16_t offset, unsigned unit, std::span<const std::byte> data) = 0;
  /// As write, and fills all of `data`. May sleep; must not fail.
  virtual void read(std::uint16_t offset, unsigned unit, std::span<std::byte> data) = 0;
};

struct PortRange {
  std::uint16_t first;
  std::uint16_t last; // inclusive
};

/// Routes port accesses to devices. Attach everything first, then start the vCPUs: from then on the
/// routes never change, so that dispatch takes no lock.
class PortBus {
 public:
  PortBus() = default;
  PortBus(const PortBus&) = delete;
  PortBus& operator=(const PortBus&) = delete;

  /// Claims `ports` for `device`, which must outlive the bus; `name` is for messages.
  /// Errc::invalid_argument where the range is backwards or overlaps a claimed one. Not to be
  /// called while vCPUs run. Does not sleep.
  Result<void> attach(PortRange ports, PortDevice& device, std::string_view name);

  /// Performs an out of `data.size() / unit` units of `unit` (1, 2 or 4) bytes. Where no device
  /// claims `port`, the data is dropped and one is added to unclaimed_writes. Any thread; sleeps
  /// only where the device does.
  void write(std::uint16_t port, unsigned unit, std::span<const std::byte> data);

  /// Performs an in. Where no device claims `port`, every bit reads as one and unclaimed_reads
  /// grows by one. Any thread; sleeps only where the device does.
  void read(std::uint16_t port, unsigned unit, std::span<std::byte> data);

  /// Exits (not units) that no device claimed. Any thread; does not sleep.
  [[nodiscard]] std::uint64_t unclaimed_writes() const;
  [[nodiscard]] std::uint64_t unclaimed_reads() const;

 private:
  struct Route {
    PortRange ports;
    PortDevice* device;
    std::string name;
  };

  [[nodiscard]] const Route* find(std::uint16_t port) const;

  std::vector<Route> routes_; // ascending, apart; constant once vCPUs run
  std::atomic<std::uint64_t> unclaimed_writes_{0};
  std::atomic<std::uint64_t> unclaimed_reads_{0};
};

} // namespace slat::vmm
