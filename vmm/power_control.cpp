#include "vmm/power_control.hpp"

#include "vmm/acpi.hpp"

#include <algorithm>

namespace slat::vmm {
namespace {

constexpr PortRange acpi_ports{acpi_sleep_control_port, acpi_sleep_status_port};
static_assert(acpi_sleep_status_port == acpi_sleep_control_port + 1);

constexpr unsigned sleep_bits = 0x3c; // of the sleep control register: the type, and "now"

constexpr PortRange keyboard_port{0x64, 0x64};
constexpr std::uint8_t pulse_reset_line = 0xfe;

} // namespace

PowerControl::PowerControl(Callback on_request) : callback_(std::move(on_request)) {}

Result<void> PowerControl::attach(PortBus& ports) {
  if (auto ok = ports.attach(acpi_ports, acpi_, "ACPI"); !ok) return ok;
  return ports.attach(keyboard_port, keyboard_, "keyboard controller");
}

void PowerControl::Port::write(std::uint16_t offset, unsigned unit,
                               std::span<const std::byte> data) {
  if (unit != 1) return; // all of them are byte registers
  for (const std::byte byte : data) {
    const auto value = std::to_integer<unsigned>(byte);
    if (kind_ == Kind::keyboard) {
      if (value == pulse_reset_line) (*callback_)(Request::reset);
    } else if (offset == 0 && (value & sleep_bits) == acpi_power_off_value) {
      (*callback_)(Request::off);
    }
  }
}

void PowerControl::Port::read(std::uint16_t, unsigned, std::span<std::byte> data) {
  // Nothing has woken the guest. There is no keyboard controller: all ones, as where nobody answers.
  std::ranges::fill(data, kind_ == Kind::acpi ? std::byte{0} : std::byte{0xff});
}

} // namespace slat::vmm
