// EchoDevice: copies what of a buffer is readable into what is writable. For tests of queues and the transport.
#pragma once

#include "vmm/virtio/device.hpp"
#include "vmm/virtio/segments.hpp"

#include <functional>
#include <vector>

namespace slat::vmm::virtio {

class EchoDevice final : public Device {
 public:
  explicit EchoDevice(unsigned queues = 1) : queues_(queues) {}

  [[nodiscard]] DeviceType type() const override { return DeviceType::entropy; }

  [[nodiscard]] std::string_view name() const override { return "echo"; }

  [[nodiscard]] unsigned queues() const override { return queues_; }

  [[nodiscard]] std::uint64_t features() const override { return 5; }

  void read_config(std::uint64_t offset, std::span<std::byte> data) const override {
    copy_config(std::uint32_t{0x11223344}, offset, data);
  }

  void attach(DeviceHost& host) override { host_ = &host; }

  void activate(std::uint64_t features) override { active_ = features; }

  void reset() override { active_ = 0; }

  Result<void> process(unsigned, Queue& queue, GuestRam& ram) override {
    return serve(queue, *host_, [&](const Chain& chain) -> Result<std::uint32_t> {
      if (on_buffer) on_buffer();
      SegmentCursor in(ram, chain.readable);
      SegmentCursor out(ram, chain.writable);
      std::vector<std::byte> bytes(std::min(in.left(), out.left()));
      if (auto ok = in.read(bytes); !ok) return forward(ok);
      if (auto ok = out.write(bytes); !ok) return forward(ok);
      return static_cast<std::uint32_t>(bytes.size());
    });
  }

  std::function<void()> on_buffer; // called for each, on the queue's thread

  [[nodiscard]] DeviceHost& host() { return *host_; }

  /// The features chosen; 0: not active.
  [[nodiscard]] std::uint64_t active() const { return active_; }

 private:
  const unsigned queues_;
  DeviceHost* host_ = nullptr;
  std::uint64_t active_ = 0;
};

} // namespace slat::vmm::virtio
