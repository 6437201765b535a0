#include "vmm/power_control.hpp"

#include "vmm/acpi.hpp"
#include "vmm/layout.hpp"

#include <algorithm>
#include <array>

namespace slat::vmm {
namespace {

constexpr PortRange acpi_ports{acpi_sleep_control_port, acpi_sleep_status_port};
static_assert(acpi_sleep_status_port == acpi_sleep_control_port + 1);

constexpr unsigned sleep_bits = 0x3c; // of the sleep control register: the type, and "now"

constexpr PortRange keyboard_port{0x64, 0x64};
constexpr std::uint8_t pulse_reset_line = 0xfe;

constexpr std::array<std::uint8_t, 7> reset_code{
    0xb0, pulse_reset_line, // mov al, 0xfe
    0xe6, 0x64,             // out 0x64, al
    0xf4,                   // hlt
    0xeb, 0xfd,             // jmp to the hlt
};
constexpr Gpa reset_vector_address = 0xffff0; // in real mode ffff:0000 or f000:fff0
static_assert(acpi_tables_end <= reset_vector_address &&
              reset_vector_address + reset_code.size() <= high_ram_start);

} // namespace

PowerControl::PowerControl(Callback on_request) : callback_(std::move(on_request)) {}

Result<void> PowerControl::attach(PortBus& ports) {
  if (auto ok = ports.attach(acpi_ports, acpi_, "ACPI"); !ok) return ok;
  return ports.attach(keyboard_port, keyboard_, "keyboard controller");
}

Result<void> PowerControl::write_reset_vector(GuestMemory& memory) {
  return memory.write(reset_vector_address, std::as_bytes(std::span(reset_code)));
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
  // Nothing has woken the guest. The keyboard controller is ready for a command: Linux waits for that before the pulse,
  // and does not look for a keyboard, which the ACPI tables deny.
  std::ranges::fill(data, std::byte{0});
}

} // namespace slat::vmm
