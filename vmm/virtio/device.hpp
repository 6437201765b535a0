// What a kind of virtio device is to the transport: its type, features, configuration, and what it does with buffers.
#pragma once

#include "vmm/virtio/queue.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace slat::vmm::virtio {

/// Device types, virtio 1.2 section 5.
enum class DeviceType : std::uint32_t { block = 2, console = 3, entropy = 4, balloon = 5 };

/// What a device may ask of its transport. Any thread, with none of the transport's locks; do not sleep.
class DeviceHost {
 public:
  virtual ~DeviceHost() = default;
  /// process() is to be called for this queue, though the driver has not asked for it.
  virtual void kick(unsigned queue) = 0;
  /// The driver is to look at the configuration again.
  virtual void config_changed() = 0;
  /// Interrupts the driver for buffers that have been given back.
  virtual void raise() = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  [[nodiscard]] virtual DeviceType type() const = 0;
  /// For messages and thread names: at most 8 characters.
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual unsigned queues() const = 0;
  /// What it offers, bits 0 to 23 and 50 up.
  [[nodiscard]] virtual std::uint64_t features() const = 0;

  /// The device's configuration as the driver sees it; what lies past it reads as 0. Any vCPU's thread; do not sleep.
  virtual void read_config(std::uint64_t offset, std::span<std::byte> data) const = 0;

  virtual void write_config(std::uint64_t, std::span<const std::byte>) {}

  /// Before anything else; the host outlives the device's use.
  virtual void attach(DeviceHost&) {}

  /// The driver is there and has chosen these features. No process() runs.
  virtual void activate(std::uint64_t) {}

  /// The driver is gone, with its buffers. No process() runs.
  virtual void reset() {}

  /// Does what there is to do in a queue, on the queue's own thread, which may sleep. Of two queues it may run at once.
  /// Not the transport's locks but a rank of their own (LockRank::device_queue) is held. An error breaks the
  /// device until it is reset, with the message for the user.
  virtual Result<void> process(unsigned index, Queue& queue, GuestRam& ram) = 0;
};

/// Copies what of `config` is at `offset` into data; the rest of data is 0. For read_config().
template <class Config>
void copy_config(const Config& config, std::uint64_t offset, std::span<std::byte> data) {
  const auto bytes = std::as_bytes(std::span(&config, 1));
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] =
        offset + i < bytes.size() ? bytes[static_cast<std::size_t>(offset) + i] : std::byte{0};
}

/// Interrupts the driver if it wants to know of what has been given back.
[[nodiscard]] inline Result<void> signal(Queue& queue, DeviceHost& host) {
  auto wanted = queue.wants_interrupt();
  if (!wanted) return forward(wanted);
  if (*wanted) host.raise();
  return {};
}

/// Serves all buffers of a queue: `handle(chain)` gives the bytes written, or an error. The driver is spared
/// notifications meanwhile, and interrupted when nothing is left or `batch` buffers wait for it.
template <class Handle> Result<void> serve(Queue& queue, DeviceHost& host, Handle handle) {
  constexpr unsigned batch = 16;
  Chain chain;
  for (;;) {
    if (auto ok = queue.disable_notifications(); !ok) return ok;
    for (unsigned count = 1;; ++count) {
      auto more = queue.pop(chain);
      if (!more) return forward(more);
      if (!*more) break;
      Result<std::uint32_t> written = handle(chain);
      if (!written) return forward(written);
      if (auto ok = queue.push(chain.head, *written); !ok) return ok;
      if (count % batch != 0) continue;
      if (auto ok = signal(queue, host); !ok) return ok;
    }
    if (auto ok = signal(queue, host); !ok) return ok;
    auto again = queue.enable_notifications();
    if (!again) return forward(again);
    if (!*again) return {};
  }
}

} // namespace slat::vmm::virtio
