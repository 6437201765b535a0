// Devices: a machine's virtio devices, each behind its transport, and where the guest finds them.
#pragma once

#include "vmm/acpi.hpp"
#include "vmm/mmio_bus.hpp"
#include "vmm/virtio/balloon.hpp"
#include "vmm/virtio/console.hpp"
#include "vmm/virtio/mmio_transport.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace slat::vmm::virtio {

struct DiskConfig {
  std::filesystem::path path;
  bool read_only = false;
  unsigned queues = 1; // 1 to Block::max_queues, each with a thread
};

struct DevicesConfig {
  std::vector<DiskConfig> disks = {};
  bool entropy = false;
  std::optional<BalloonOptions> balloon = {};
  VirtioConsole::Sink console = {}; // empty: there is none

  [[nodiscard]] bool empty() const { return disks.empty() && !entropy && !balloon && !console; }
};

class Devices {
 public:
  /// Called by devices' threads and vCPUs'; do not sleep.
  using Interrupt = std::function<void(unsigned gsi)>;
  using Notice = std::function<void(const std::string& line)>;

  /// Opens what they stand for and starts their threads; prepare_sandbox() first. The RAM outlives them. Errors: invalid_argument (too many,
  /// or a balloon larger than the RAM), and those of BlockImage::open() and MmioTransport::create().
  static Result<std::unique_ptr<Devices>> create(const DevicesConfig& config, GuestRam& ram,
                                                 Interrupt interrupt, Notice notice,
                                                 SeccompMode seccomp);

  /// Claims their registers. Errors: those of MmioBus::attach().
  Result<void> attach(MmioBus& bus);

  /// For the ACPI tables.
  [[nodiscard]] const std::vector<AcpiPlatform::VirtioDevice>& places() const { return places_; }

  /// nullptr where there is none.
  [[nodiscard]] Balloon* balloon() { return balloon_; }

  [[nodiscard]] VirtioConsole* console() { return console_; }

 private:
  Devices() = default;

  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<AcpiPlatform::VirtioDevice> places_;
  Balloon* balloon_ = nullptr;
  VirtioConsole* console_ = nullptr;
  std::vector<std::unique_ptr<MmioTransport>> transports_; // last: their threads end first
};

} // namespace slat::vmm::virtio
