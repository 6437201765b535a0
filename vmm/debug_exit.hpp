// The port by which a guest ends its run and says how it went.
#pragma once

#include "vmm/port_bus.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

namespace slat::vmm {

/// A guest writes its exit code, 1, 2 or 4 bytes little-endian, to port 0xf4. The first write of
/// any vCPU is latched; later ones are dropped. Codes are 0 to 255; a larger value becomes 255, so
/// that no failure turns into a 0.
class DebugExit final : public PortDevice {
 public:
  static constexpr PortRange ports{0xf4, 0xf4};

  /// Called once, in the vCPU thread whose write was latched, with no lock held, after exit_code()
  /// shows the code.
  using Callback = std::function<void(std::uint8_t code)>;

  explicit DebugExit(Callback on_exit) : on_exit_(std::move(on_exit)) {}

  /// The latched code, if any. Any thread; does not sleep.
  [[nodiscard]] std::optional<std::uint8_t> exit_code() const;

  void write(std::uint16_t offset, unsigned unit, std::span<const std::byte> data) override;
  void read(std::uint16_t offset, unsigned unit, std::span<std::byte> data) override; // all ones

 private:
  static constexpr int none = -1;

  const Callback on_exit_;
  std::atomic<int> code_{none};
};

} // namespace slat::vmm
