// ACPI tables of a hardware-reduced platform: CPUs, an I/O APIC, a serial port and virtio devices, power-off.
// After ACPI 6.4; the virtio device's id is the one of Linux's virtio-mmio driver.
#pragma once

#include "vmm/error.hpp"
#include "vmm/guest_memory.hpp"

#include <cstdint>
#include <vector>

namespace slat::vmm {

/// Where the tables begin, the RSDP first. A guest that is not told finds them here too.
inline constexpr Gpa acpi_tables_address = 0xe0000;
inline constexpr Gpa acpi_tables_end =
    0xffff0; // at the most; the reset vector follows (power_control.hpp)

// Registers of one byte, in I/O space.
/// Bits 2 to 4: sleep type; bit 5: sleep now.
inline constexpr std::uint16_t acpi_sleep_control_port = 0x600;
/// Bit 7: woke up; writing 1 clears it. It may always read 0: a guest waits for it after going to sleep, and nothing
/// wakes from S5.
inline constexpr std::uint16_t acpi_sleep_status_port = 0x601;

/// The sleep type of "soft off", the only one there is.
inline constexpr std::uint8_t acpi_s5_type = 5;
/// What the guest writes to acpi_sleep_control_port to be powered off.
inline constexpr std::uint8_t acpi_power_off_value = acpi_s5_type << 2 | 1U << 5;

struct AcpiPlatform {
  struct VirtioDevice {
    std::uint64_t
        base; // of its registers, in the device hole of layout.hpp, away from the APICs at its end
    std::uint32_t size; // bytes, not 0
    unsigned gsi;       // 0 to 23: a pin of the I/O APIC; edge-triggered, active high, not shared
  };

  unsigned cpus = 1; // 1 to 255; their local APIC ids are 0 and up
  std::vector<VirtioDevice> virtio = {};
};

/// Writes RSDP, DSDT, FADT, MADT and XSDT in one write, and returns the address of the RSDP, for
/// BootParams::acpi_rsdp. Errc::invalid_argument, before anything is written, on a value outside the ranges above and
/// where the tables do not fit below 1 MiB (about 1800 virtio devices). May sleep.
[[nodiscard]] Result<Gpa> write_acpi_tables(GuestMemory& memory, const AcpiPlatform& platform);

} // namespace slat::vmm
