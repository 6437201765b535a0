// The ACPI tables' own layouts, after ACPI 6.4, sections 5.2.3.2 (registers), 5.2.5.3 (RSDP), 5.2.6 (headers), 5.2.9
// (FADT) and 5.2.12 (MADT). Little-endian, without padding.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace slat::vmm {

struct [[gnu::packed]] AcpiRsdp {
  std::array<char, 8> signature;
  std::uint8_t checksum; // of the first 20 bytes
  std::array<char, 6> oem_id;
  std::uint8_t revision;
  std::uint32_t rsdt_address;
  std::uint32_t length;
  std::uint64_t xsdt_address;
  std::uint8_t extended_checksum; // of all
  std::array<std::uint8_t, 3> reserved;
};

static_assert(sizeof(AcpiRsdp) == 36 && offsetof(AcpiRsdp, xsdt_address) == 24);

struct [[gnu::packed]] AcpiHeader {
  std::array<char, 4> signature;
  std::uint32_t length;
  std::uint8_t revision;
  std::uint8_t checksum;
  std::array<char, 6> oem_id;
  std::array<char, 8> oem_table_id;
  std::uint32_t oem_revision;
  std::array<char, 4> creator_id;
  std::uint32_t creator_revision;
};

static_assert(sizeof(AcpiHeader) == 36 && offsetof(AcpiHeader, checksum) == 9);

// The "generic address structure".
struct [[gnu::packed]] AcpiRegister {
  std::uint8_t space;
  std::uint8_t bit_width;
  std::uint8_t bit_offset;
  std::uint8_t access_size;
  std::uint64_t address;
};

static_assert(sizeof(AcpiRegister) == 12);

struct [[gnu::packed]] AcpiFadt {
  AcpiHeader header;
  std::uint32_t facs;
  std::uint32_t dsdt;
  std::array<std::uint8_t, 65>
      fixed_hardware; // and its timing, which a hardware-reduced platform has not
  std::uint16_t boot_architecture;
  std::uint8_t reserved;
  std::uint32_t flags;
  AcpiRegister reset;
  std::uint8_t reset_value;
  std::uint16_t arm_boot_architecture;
  std::uint8_t minor_revision;
  std::uint64_t x_facs;
  std::uint64_t x_dsdt;
  std::array<AcpiRegister, 8> x_fixed_hardware;
  AcpiRegister sleep_control;
  AcpiRegister sleep_status;
  std::array<char, 8> hypervisor;
};

static_assert(sizeof(AcpiFadt) == 276 && offsetof(AcpiFadt, boot_architecture) == 109);
static_assert(offsetof(AcpiFadt, flags) == 112 && offsetof(AcpiFadt, reset) == 116);
static_assert(offsetof(AcpiFadt, minor_revision) == 131 && offsetof(AcpiFadt, x_dsdt) == 140);
static_assert(offsetof(AcpiFadt, sleep_control) == 244 && offsetof(AcpiFadt, sleep_status) == 256);

// Bits of boot_architecture. Those of legacy devices and of the keyboard controller stay 0: neither is there.
inline constexpr std::uint16_t boot_no_vga = 1U << 2;
inline constexpr std::uint16_t boot_no_cmos_clock = 1U << 5;

// Bits of flags.
inline constexpr std::uint32_t fadt_wbinvd = 1U << 0;       // the specification wants it set
inline constexpr std::uint32_t fadt_power_button = 1U << 4; // set: none in fixed hardware
inline constexpr std::uint32_t fadt_sleep_button = 1U << 5; // as above
inline constexpr std::uint32_t fadt_hardware_reduced = 1U << 20;

struct [[gnu::packed]] AcpiMadt {
  AcpiHeader header;
  std::uint32_t local_apic_address;
  std::uint32_t flags; // bit 0 would say that there are 8259s to be masked
};

static_assert(sizeof(AcpiMadt) == 44);

struct [[gnu::packed]] MadtLocalApic {
  std::uint8_t type = 0;
  std::uint8_t length = 8;
  std::uint8_t processor_uid;
  std::uint8_t apic_id;
  std::uint32_t flags = 1; // enabled
};

static_assert(sizeof(MadtLocalApic) == 8);

struct [[gnu::packed]] MadtIoApic {
  std::uint8_t type = 1;
  std::uint8_t length = 12;
  std::uint8_t id = 0;
  std::uint8_t reserved = 0;
  std::uint32_t address = 0xfec00000;
  std::uint32_t gsi_base = 0;
};

static_assert(sizeof(MadtIoApic) == 12);

} // namespace slat::vmm
