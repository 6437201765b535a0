// A 16550A serial port: a guest's console.
#pragma once

#include "vmm/console_input.hpp"
#include "vmm/port_bus.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <span>

namespace slat::vmm {

/// The transmitter is always ready. What is received waits until the guest reads it, also where the guest resets its
/// FIFO: what a person typed early is not lost. In loopback mode (MCR bit 4) bytes go nowhere, and MSR shows the modem
/// outputs, as drivers probe for.
class Serial final : public PortDevice, public ConsoleInput {
 public:
  static constexpr PortRange com1_ports{0x3f8, 0x3ff};
  static constexpr unsigned com1_irq = 4;

  /// Takes the guest's bytes in order. Called in a vCPU thread under this device's lock: it may
  /// sleep, and must not call the device.
  using Sink = std::function<void(std::span<const char> bytes)>;
  /// Sets the level of the interrupt line (received data, transmitter empty: what the guest enabled). As Sink, and called
  /// by receive() too; may be empty.
  using InterruptLine = std::function<void(bool raised)>;

  explicit Serial(Sink sink, InterruptLine line = {})
      : sink_(std::move(sink)), line_(std::move(line)) {}

  [[nodiscard]] bool has_room() const override;
  void receive(std::span<const char> bytes) override;

  /// When the first byte reached the sink (before the sink was called). Any thread; waits for a
  /// running sink.
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> first_byte_time() const;
  /// Bytes given to the sink. Any thread; waits for a running sink.
  [[nodiscard]] std::uint64_t byte_count() const;

  void write(std::uint16_t offset, unsigned unit, std::span<const std::byte> data) override;
  void read(std::uint16_t offset, unsigned unit, std::span<std::byte> data) override;

 private:
  void write_register(unsigned index, std::uint8_t value);
  std::uint8_t read_register(unsigned index);
  void transmit(std::span<const char> bytes);
  void update_line();

  const Sink sink_;
  const InterruptLine line_;

  mutable std::mutex mutex_;   // guards all below
  std::uint16_t divisor_ = 12; // 9600 baud; kept for the guest to read back, no more
  std::uint8_t interrupt_enable_ = 0;
  std::uint8_t fifo_control_ = 0;
  std::uint8_t line_control_ = 0;
  std::uint8_t modem_control_ = 0;
  std::uint8_t scratch_ = 0;
  std::deque<char> received_;
  bool empty_pending_ = false; // "transmitter empty" not yet acknowledged by a read of IIR
  bool line_raised_ = false;
  std::uint64_t byte_count_ = 0;
  std::optional<std::chrono::steady_clock::time_point> first_byte_time_;
};

} // namespace slat::vmm
