#include "vmm/acpi.hpp"

#include "vmm/acpi_structs.hpp"
#include "vmm/aml.hpp"
#include "vmm/layout.hpp"
#include "vmm/serial.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <fmt/format.h>
#include <numeric>
#include <span>
#include <string_view>

namespace slat::vmm {
namespace {

constexpr std::uint32_t acpi_local_apic_address = 0xfee00000;
constexpr unsigned io_apic_pins = 24;            // of KVM's
constexpr unsigned acpi_max_cpus = 255;          // 255 as a local APIC id means all of them
constexpr std::size_t acpi_max_devices = 0x1000; // V000 to VFFF
constexpr std::uint64_t acpi_tables_room = acpi_tables_end - acpi_tables_address;
static_assert(acpi_tables_address >= low_ram_end,
              "the tables must be in the reserved part of guest memory");

constexpr std::array<char, 6> acpi_oem_id{'S', 'L', 'A', 'T', ' ', ' '};

AcpiHeader acpi_header(std::string_view signature, std::uint8_t revision) {
  AcpiHeader header{};
  signature.copy(header.signature.data(), header.signature.size());
  header.revision = revision;
  header.oem_id = acpi_oem_id;
  header.oem_table_id = {'S', 'L', 'A', 'T', 'V', 'M', 'M', ' '};
  header.oem_revision = 1;
  header.creator_id = {'S', 'L', 'A', 'T'};
  header.creator_revision = 1;
  return header;
}

AcpiRegister acpi_port(std::uint16_t port) {
  constexpr std::uint8_t io_space = 1;
  constexpr std::uint8_t byte_access = 1;
  return {io_space, 8, 0, byte_access, port};
}

template <class T> void append_object(aml::Bytes& to, const T& object) {
  const auto at = to.size();
  to.resize(at + sizeof object);
  std::memcpy(to.data() + at, &object, sizeof object);
}

template <class T> aml::Bytes bytes_of(const T& object) {
  aml::Bytes out;
  append_object(out, object);
  return out;
}

/// What makes the sum of all bytes 0.
std::uint8_t acpi_checksum(std::span<const std::uint8_t> bytes) {
  return static_cast<std::uint8_t>(0U - std::accumulate(bytes.begin(), bytes.end(), 0U));
}

/// The tables as they will lie in guest memory, behind the RSDP, each at a multiple of 16 bytes.
class AcpiTables {
 public:
  AcpiTables() : bytes_(sizeof(AcpiRsdp)) {}

  /// Fills in the length and the checksum; returns the table's address.
  Gpa add(aml::Bytes table) {
    const auto length = static_cast<std::uint32_t>(table.size());
    std::memcpy(table.data() + offsetof(AcpiHeader, length), &length, sizeof length);
    table[offsetof(AcpiHeader, checksum)] = acpi_checksum(table);
    bytes_.resize((bytes_.size() + 15) / 16 * 16);
    const Gpa address = acpi_tables_address + bytes_.size();
    bytes_.insert(bytes_.end(), table.begin(), table.end());
    return address;
  }

  void set_root(Gpa xsdt) {
    AcpiRsdp root{};
    root.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
    root.oem_id = acpi_oem_id;
    root.revision = 2;
    root.length = sizeof root;
    root.xsdt_address = xsdt;
    const auto without_checksums = bytes_of(root);
    root.checksum = acpi_checksum(std::span(without_checksums).first(offsetof(AcpiRsdp, length)));
    root.extended_checksum = acpi_checksum(bytes_of(root));
    std::memcpy(bytes_.data(), &root, sizeof root);
  }

  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return bytes_; }

 private:
  aml::Bytes bytes_;
};

aml::Bytes serial_device() {
  constexpr PortRange ports = Serial::com1_ports;
  return aml::device(
      "COM1", aml::concat({
                  aml::name("_HID", aml::eisa_id("PNP0501")),
                  aml::name("_UID", aml::integer(1)),
                  aml::name("_CRS", aml::resource_template({
                                        aml::io_ports(ports.first, ports.last - ports.first + 1),
                                        aml::edge_interrupt(Serial::com1_irq),
                                    })),
              }));
}

aml::Bytes virtio_device(std::size_t index, const AcpiPlatform::VirtioDevice& device) {
  const auto registers = aml::memory32_fixed(static_cast<std::uint32_t>(device.base), device.size);
  return aml::device(
      fmt::format("V{:03X}", index),
      aml::concat({
          aml::name("_HID", aml::string("LNRO0005")),
          aml::name("_UID", aml::integer(index)),
          aml::name("_CCA", aml::integer(1)), // its DMA sees the CPUs' caches
          aml::name("_CRS", aml::resource_template({registers, aml::edge_interrupt(device.gsi)})),
      }));
}

aml::Bytes make_dsdt(const AcpiPlatform& platform) {
  constexpr std::uint8_t with_64bit_integers = 2;
  aml::Bytes devices = serial_device();
  for (std::size_t i = 0; i < platform.virtio.size(); ++i) {
    const auto device = virtio_device(i, platform.virtio[i]);
    devices.insert(devices.end(), device.begin(), device.end());
  }
  const auto zero = aml::integer(0);
  return aml::concat(
      {bytes_of(acpi_header("DSDT", with_64bit_integers)),
       aml::name("\\_S5", aml::package({aml::integer(acpi_s5_type), zero, zero, zero})),
       aml::scope("\\_SB", devices)});
}

aml::Bytes make_fadt(Gpa dsdt) {
  AcpiFadt fadt{};
  fadt.header = acpi_header("FACP", 6);
  fadt.minor_revision = 4;
  fadt.dsdt = static_cast<std::uint32_t>(dsdt);
  fadt.x_dsdt = dsdt;
  fadt.boot_architecture = boot_no_vga | boot_no_cmos_clock;
  // No reset register: Linux then goes on to the keyboard controller's line (power_control.hpp).
  fadt.flags = fadt_wbinvd | fadt_power_button | fadt_sleep_button | fadt_hardware_reduced;
  fadt.sleep_control = acpi_port(acpi_sleep_control_port);
  fadt.sleep_status = acpi_port(acpi_sleep_status_port);
  return bytes_of(fadt);
}

aml::Bytes make_madt(unsigned cpus) {
  aml::Bytes out = bytes_of(AcpiMadt{acpi_header("APIC", 5), acpi_local_apic_address, 0});
  for (unsigned i = 0; i < cpus; ++i) {
    const auto id = static_cast<std::uint8_t>(i);
    append_object(out, MadtLocalApic{.processor_uid = id, .apic_id = id});
  }
  append_object(out, MadtIoApic{});
  return out;
}

aml::Bytes make_xsdt(Gpa fadt, Gpa madt) {
  aml::Bytes out = bytes_of(acpi_header("XSDT", 1));
  append_object(out, fadt);
  append_object(out, madt);
  return out;
}

tl::unexpected<Error> acpi_too_large(std::size_t devices) {
  return fail(
      Errc::invalid_argument, 0,
      fmt::format(
          "ACPI tables of {} virtio devices do not fit between {:#x} and {:#x}; use fewer devices",
          devices, acpi_tables_address, acpi_tables_end));
}

Result<void> check_platform(const AcpiPlatform& platform) {
  if (platform.cpus == 0 || platform.cpus > acpi_max_cpus) {
    return fail(Errc::invalid_argument, 0,
                fmt::format("{} CPUs cannot be told to a guest through ACPI; use 1 to {}",
                            platform.cpus, acpi_max_cpus));
  }
  if (platform.virtio.size() > acpi_max_devices) return acpi_too_large(platform.virtio.size());
  for (std::size_t i = 0; i < platform.virtio.size(); ++i) {
    const auto& [base, size, gsi] = platform.virtio[i];
    if (size == 0 || base < device_hole_start || base >= device_hole_end ||
        size > device_hole_end - base) {
      return fail(Errc::invalid_argument, 0,
                  fmt::format("virtio device {} ({:#x} bytes at {:#x}) is not in the device hole; "
                              "place it between 3 and 4 GiB",
                              i, size, base));
    }
    if (gsi >= io_apic_pins) {
      return fail(
          Errc::invalid_argument, 0,
          fmt::format(
              "virtio device {} has GSI {} and the I/O APIC has {} pins; use one of 0 to {}", i,
              gsi, io_apic_pins, io_apic_pins - 1));
    }
  }
  return {};
}

} // namespace

Result<Gpa> write_acpi_tables(GuestMemory& memory, const AcpiPlatform& platform) {
  auto checked = check_platform(platform);
  if (!checked) return forward(checked);
  AcpiTables tables;
  const Gpa dsdt = tables.add(make_dsdt(platform));
  const Gpa fadt = tables.add(make_fadt(dsdt));
  const Gpa madt = tables.add(make_madt(platform.cpus));
  tables.set_root(tables.add(make_xsdt(fadt, madt)));
  if (tables.bytes().size() > acpi_tables_room) return acpi_too_large(platform.virtio.size());
  auto written = memory.write(acpi_tables_address, std::as_bytes(tables.bytes()));
  if (!written) return forward(written);
  return acpi_tables_address;
}

} // namespace slat::vmm
