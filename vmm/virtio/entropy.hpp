// Entropy: random numbers of the host's. After virtio 1.2, section 5.4.
#pragma once

#include "vmm/virtio/device.hpp"

namespace slat::vmm::virtio {

class Entropy final : public Device {
 public:
  /// Bytes for one buffer at most: a guest cannot keep the host busy with one request.
  static constexpr std::uint32_t max_bytes = 64 << 10;

  [[nodiscard]] DeviceType type() const override { return DeviceType::entropy; }

  [[nodiscard]] std::string_view name() const override { return "rng"; }

  [[nodiscard]] unsigned queues() const override { return 1; }

  [[nodiscard]] std::uint64_t features() const override { return 0; }

  void read_config(std::uint64_t, std::span<std::byte> data) const override;

  void attach(DeviceHost& host) override { host_ = &host; }

  Result<void> process(unsigned index, Queue& queue, GuestRam& ram) override;

 private:
  DeviceHost* host_ = nullptr;
};

} // namespace slat::vmm::virtio
