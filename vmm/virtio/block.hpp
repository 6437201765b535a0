// Block: a disk. After virtio 1.2, section 5.2.
#pragma once

#include "vmm/virtio/block_image.hpp"
#include "vmm/virtio/device.hpp"

#include <string>

namespace slat::vmm::virtio {

class SegmentCursor;

/// Each queue has a thread of its own, which reads and writes the image right from and into guest memory: a range that an
/// invalidation begins waits for the piece that is under way. An error of the host is the request's, for the guest to see.
class Block final : public Device {
 public:
  static constexpr unsigned max_queues = 16;

  /// `queues`: 1 to max_queues. `id`: what the guest reads as the disk's serial number, 20 bytes of it.
  Block(BlockImage image, unsigned queues, std::string id)
      : image_(std::move(image)), queues_(queues), id_(std::move(id)) {}

  [[nodiscard]] DeviceType type() const override { return DeviceType::block; }

  [[nodiscard]] std::string_view name() const override { return "blk"; }

  [[nodiscard]] unsigned queues() const override { return queues_; }

  [[nodiscard]] std::uint64_t features() const override;
  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;

  void attach(DeviceHost& host) override { host_ = &host; }

  Result<void> process(unsigned index, Queue& queue, GuestRam& ram) override;

 private:
  enum class Status : std::uint8_t;

  Result<std::uint32_t> handle(const Chain& chain, GuestRam& ram);
  Status transfer(bool write, std::uint64_t sector, SegmentCursor& data);
  Status free_ranges(bool zero, SegmentCursor& data);
  Status read_id(SegmentCursor& data);

  const BlockImage image_;
  const unsigned queues_;
  const std::string id_;
  DeviceHost* host_ = nullptr;
};

} // namespace slat::vmm::virtio
