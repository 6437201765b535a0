// VirtioConsole: one port, for a terminal. After virtio 1.2, section 5.3, without VIRTIO_CONSOLE_F_MULTIPORT.
#pragma once

#include "mmu/thread_safety.hpp"
#include "vmm/console_input.hpp"
#include "vmm/virtio/device.hpp"

#include <deque>
#include <functional>

namespace slat::vmm::virtio {

class VirtioConsole final : public Device, public ConsoleInput {
 public:
  /// Takes the guest's bytes in order, on the queue's thread; no guest memory is pinned, and it may sleep.
  using Sink = std::function<void(std::span<const char> bytes)>;

  explicit VirtioConsole(Sink sink) : sink_(std::move(sink)) {}

  [[nodiscard]] DeviceType type() const override { return DeviceType::console; }

  [[nodiscard]] std::string_view name() const override { return "con"; }

  [[nodiscard]] unsigned queues() const override { return 2; }

  [[nodiscard]] std::uint64_t features() const override { return 0; }

  void read_config(std::uint64_t offset, std::span<std::byte> data) const override;

  void attach(DeviceHost& host) override { host_ = &host; }

  Result<void> process(unsigned index, Queue& queue, GuestRam& ram) override;

  [[nodiscard]] bool has_room() const override SLAT_EXCLUDES(mutex_);
  void receive(std::span<const char> bytes) override SLAT_EXCLUDES(mutex_);

 private:
  Result<void> fill(Queue& queue, GuestRam& ram) SLAT_EXCLUDES(mutex_);
  Result<std::uint32_t> print(const Chain& chain, GuestRam& ram);

  const Sink sink_;
  DeviceHost* host_ = nullptr;
  mutable mmu::Mutex mutex_; // a leaf
  std::deque<char> received_ SLAT_GUARDED_BY(mutex_);
};

} // namespace slat::vmm::virtio
