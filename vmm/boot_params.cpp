#include "vmm/boot_params.hpp"

#include "vmm/layout.hpp"

#include <algorithm>
#include <asm/bootparam.h>
#include <cstring>
#include <fmt/format.h>
#include <string>

namespace slat::vmm {
namespace {

// The offsets that the protocol documents: a header that lays them out otherwise must not compile.
static_assert(sizeof(boot_params) == guest_page_size);
static_assert(offsetof(boot_params, acpi_rsdp_addr) == 0x070);
static_assert(offsetof(boot_params, e820_entries) == 0x1e8);
static_assert(offsetof(boot_params, hdr) == 0x1f1);
static_assert(offsetof(boot_params, hdr.boot_flag) == 0x1fe);
static_assert(offsetof(boot_params, hdr.header) == 0x202);
static_assert(offsetof(boot_params, hdr.version) == 0x206);
static_assert(offsetof(boot_params, hdr.type_of_loader) == 0x210);
static_assert(offsetof(boot_params, hdr.loadflags) == 0x211);
static_assert(offsetof(boot_params, hdr.ramdisk_image) == 0x218);
static_assert(offsetof(boot_params, hdr.ramdisk_size) == 0x21c);
static_assert(offsetof(boot_params, hdr.cmd_line_ptr) == 0x228);
static_assert(offsetof(boot_params, hdr.kernel_alignment) == 0x230);
static_assert(offsetof(boot_params, hdr.cmdline_size) == 0x238);
static_assert(offsetof(boot_params, e820_table) == 0x2d0);
static_assert(sizeof(boot_e820_entry) == 20 && E820_MAX_ENTRIES_ZEROPAGE == 128);

constexpr std::uint16_t boot_flag = 0xaa55;
constexpr std::uint32_t header_magic = 0x53726448; // "HdrS"
constexpr std::uint16_t protocol_version = 0x020f;
constexpr std::uint8_t undefined_loader =
    0xff; // an id is assigned by the kernel's maintainers; this means none
constexpr std::uint32_t kernel_alignment = 16 * mib;

Result<void> check_initrd(const GuestMemory& memory, const GpaRange& initrd) {
  const auto& [start, size] = initrd;
  if (size != 0 && contains(memory.ranges(), start, size) && start + size <= device_hole_end)
    return {};
  return fail(Errc::invalid_argument, 0,
              fmt::format("initrd ({:#x} bytes at {:#x}) is not in guest RAM below 4 GiB; give the "
                          "guest more memory "
                          "or use a smaller initrd",
                          size, start));
}

} // namespace

Result<void> check_command_line(std::string_view text) {
  if (text.size() > max_command_line) {
    return fail(Errc::invalid_argument, 0,
                fmt::format("kernel command line of {} bytes is longer than {}; shorten it",
                            text.size(), max_command_line));
  }
  if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
    return fail(
        Errc::invalid_argument, 0,
        fmt::format(
            "kernel command line has a NUL at byte {}, where the guest would cut it; remove it",
            nul));
  }
  return {};
}

Result<void> write_boot_params(GuestMemory& memory, const BootParams& params) {
  auto checked = check_command_line(params.command_line);
  if (checked && params.initrd) checked = check_initrd(memory, *params.initrd);
  if (!checked) return checked;
  const auto map = e820_map(memory.ranges());
  if (map.size() > E820_MAX_ENTRIES_ZEROPAGE) {
    return fail(
        Errc::invalid_argument, 0,
        fmt::format(
            "guest memory map has {} entries and the boot protocol takes {}; use fewer RAM ranges",
            map.size(), E820_MAX_ENTRIES_ZEROPAGE));
  }

  boot_params page{};
  page.acpi_rsdp_addr = params.acpi_rsdp;
  page.hdr.boot_flag = boot_flag;
  page.hdr.header = header_magic;
  page.hdr.version = protocol_version;
  page.hdr.kernel_alignment = kernel_alignment;
  page.hdr.cmdline_size = static_cast<std::uint32_t>(max_command_line);
  const auto header = params.setup_header.first(
      std::min(params.setup_header.size(), sizeof page.hdr)); // in place of the five above
  if (!header.empty()) std::memcpy(&page.hdr, header.data(), header.size());
  page.hdr.type_of_loader = undefined_loader;
  page.hdr.loadflags |= LOADED_HIGH;
  page.hdr.cmd_line_ptr = static_cast<std::uint32_t>(command_line_address);
  if (params.initrd) {
    page.hdr.ramdisk_image = static_cast<std::uint32_t>(params.initrd->start);
    page.hdr.ramdisk_size = static_cast<std::uint32_t>(params.initrd->size);
  }
  page.e820_entries = static_cast<std::uint8_t>(map.size());
  for (std::size_t i = 0; i < map.size(); ++i)
    page.e820_table[i] = {map[i].start, map[i].size, static_cast<std::uint32_t>(map[i].type)};

  auto written = memory.write(boot_params_address, std::as_bytes(std::span(&page, 1)));
  if (!written) return written;
  const std::string line(params.command_line); // with the NUL behind it
  return memory.write(command_line_address,
                      std::as_bytes(std::span(line.c_str(), line.size() + 1)));
}

} // namespace slat::vmm
