// The ways by which a PC guest turns itself off, the ports of the ACPI tables (acpi.hpp), or asks for a reset, the keyboard
// controller's line and the reset vector.
#pragma once

#include "vmm/guest_memory.hpp"
#include "vmm/port_bus.hpp"

#include <cstdint>
#include <functional>
#include <span>

namespace slat::vmm {

class PowerControl final {
 public:
  enum class Request { off, reset };

  /// Called in the thread of a vCPU, with no lock held, each time that the guest asks.
  using Callback = std::function<void(Request request)>;

  explicit PowerControl(Callback on_request);

  /// Claims the ports. Errors: those of PortBus::attach().
  Result<void> attach(PortBus& ports);

  /// At the real-mode reset vector, code that asks for a reset in place of a firmware's. Linux jumps there to restart a
  /// hardware-reduced platform without EFI. Errors: those of GuestMemory::write().
  static Result<void> write_reset_vector(GuestMemory& memory);

 private:
  class Port final : public PortDevice {
   public:
    enum class Kind { acpi, keyboard };

    Port(Kind kind, const Callback& callback) : kind_(kind), callback_(&callback) {}

    void write(std::uint16_t offset, unsigned unit, std::span<const std::byte> data) override;
    void read(std::uint16_t offset, unsigned unit, std::span<std::byte> data) override;

   private:
    const Kind kind_;
    const Callback* const callback_;
  };

  const Callback callback_;
  Port acpi_{Port::Kind::acpi, callback_};
  Port keyboard_{Port::Kind::keyboard, callback_};
};

} // namespace slat::vmm
