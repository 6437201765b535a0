#include "vmm/linux_image.hpp"

#include "vmm/layout.hpp"
#include "vmm/printable.hpp"

#include <algorithm>
#include <asm/bootparam.h>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <string>

namespace slat::vmm {
namespace {

constexpr std::size_t header_offset = offsetof(boot_params, hdr);
constexpr std::size_t sector = 512;
constexpr std::uint16_t boot_mark = 0xaa55;
constexpr std::uint32_t header_magic = 0x53726448; // "HdrS"
constexpr std::uint16_t first_with_64_bit_entry = 0x020c;
constexpr std::uint64_t entry_64_offset = 0x200;
constexpr std::uint8_t old_setup_sectors = 4; // what a 0 means

std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

class BzImage {
 public:
  BzImage(std::span<const std::byte> image, std::string_view name)
      : image_(image), name_(printable(name)) {
    std::memcpy(&header_, image.data() + header_offset,
                std::min(sizeof header_, image.size() - header_offset));
  }

  [[nodiscard]] const setup_header& header() const { return header_; }

  [[nodiscard]] tl::unexpected<Error> bad(std::string_view what) const {
    return fail(Errc::bad_image, 0, fmt::format("kernel '{}': {}", name_, what));
  }

  /// The part that runs in protected mode.
  [[nodiscard]] Result<std::span<const std::byte>> payload() const {
    if (header_.version < first_with_64_bit_entry || (header_.xloadflags & XLF_KERNEL_64) == 0)
      return bad(fmt::format("its boot protocol is {}.{:02} without a 64-bit entry; use a 64-bit "
                             "kernel, 3.8 or later",
                             header_.version >> 8, header_.version & 0xff));
    const std::size_t sectors = header_.setup_sects == 0 ? old_setup_sectors : header_.setup_sects;
    const std::size_t offset = (sectors + 1) * sector;
    const std::uint64_t size = std::uint64_t{header_.syssize} * 16;
    // The last paragraph may be cut short.
    if (size <= entry_64_offset || offset > image_.size() || size > image_.size() - offset + 15)
      return bad(fmt::format("it says to have {:#x} bytes behind {:#x}, and the file has {:#x} in "
                             "all; it is damaged or cut off",
                             size, offset, image_.size()));
    return image_.subspan(offset, std::min<std::uint64_t>(size, image_.size() - offset));
  }

  /// Where it can run in this RAM.
  [[nodiscard]] Result<Gpa> place(std::span<const GpaRange> ram, std::uint64_t payload) const {
    // Copies: the header is packed, so nothing may refer to its fields.
    const std::uint64_t alignment = header_.kernel_alignment;
    const std::uint64_t room = header_.init_size;
    const Gpa preferred = header_.pref_address;
    if (room < payload || preferred < high_ram_start ||
        (header_.relocatable_kernel != 0 && (alignment == 0 || (alignment & (alignment - 1)) != 0)))
      return bad("its setup header contradicts itself; it is damaged");
    if (contains(ram, preferred, room)) return preferred;
    if (header_.relocatable_kernel != 0) {
      const Gpa lowest = align_up(high_ram_start, alignment);
      if (contains(ram, lowest, room)) return lowest;
    }
    return bad(fmt::format("it needs {} KiB of RAM at {:#x}; give the guest more memory",
                           room / kib, preferred));
  }

  /// From its first byte to where the jump over it leads.
  [[nodiscard]] std::vector<std::byte> setup_bytes() const {
    const std::size_t end = 0x202 + std::to_integer<std::size_t>(image_[0x201]);
    const std::size_t size =
        std::min({end - header_offset, sizeof header_, image_.size() - header_offset});
    const auto bytes = image_.subspan(header_offset, size);
    return {bytes.begin(), bytes.end()};
  }

 private:
  const std::span<const std::byte> image_;
  const std::string name_;
  setup_header header_{};
};

} // namespace

bool is_bzimage(std::span<const std::byte> image) {
  constexpr std::size_t mark_at = 0x1fe;
  constexpr std::size_t magic_at = 0x202;
  std::uint16_t mark = 0;
  std::uint32_t magic = 0;
  if (image.size() < magic_at + sizeof magic) return false;
  std::memcpy(&mark, image.data() + mark_at, sizeof mark);
  std::memcpy(&magic, image.data() + magic_at, sizeof magic);
  return mark == boot_mark && magic == header_magic;
}

Result<LinuxImage> load_bzimage(GuestMemory& memory, std::span<const std::byte> image,
                                std::string_view name) {
  const BzImage kernel(image, name);
  auto payload = kernel.payload();
  if (!payload) return forward(payload);
  auto start = kernel.place(memory.ranges(), payload->size());
  if (!start) return forward(start);
  if (auto written = memory.write(*start, *payload); !written) return forward(written);
  const setup_header& header = kernel.header();
  return LinuxImage{.entry = *start + entry_64_offset,
                    .room = {*start, header.init_size},
                    .initrd_end = std::uint64_t{header.initrd_addr_max} + 1,
                    .max_command_line = header.cmdline_size,
                    .setup_header = kernel.setup_bytes()};
}

Result<GpaRange> load_initrd(GuestMemory& memory, std::span<const std::byte> initrd,
                             std::string_view name, const LinuxImage& kernel) {
  const std::uint64_t size = initrd.size();
  if (size == 0)
    return fail(Errc::bad_image, 0, fmt::format("initrd '{}': it is empty", printable(name)));
  std::optional<Gpa> best;
  for (const GpaRange& range : memory.ranges()) {
    const Gpa limit = std::min({range.start + range.size, kernel.initrd_end, device_hole_end});
    // Above the kernel's room, or, where the RAM ends with that, between the first MiB and it.
    for (const auto& [low, high] :
         {GpaRange{std::max(range.start, kernel.room.start + kernel.room.size), limit},
          GpaRange{std::max(range.start, high_ram_start), std::min(limit, kernel.room.start)}}) {
      if (high < low || high - low < size) continue;
      const Gpa at = (high - size) / guest_page_size * guest_page_size;
      if (at >= low && (!best || at > *best)) best = at;
    }
  }
  if (!best)
    return fail(Errc::bad_image, 0,
                fmt::format("initrd '{}': no room for its {} bytes beside the kernel; give the "
                            "guest more memory",
                            printable(name), size));
  if (auto written = memory.write(*best, initrd); !written) return forward(written);
  return GpaRange{*best, size};
}

} // namespace slat::vmm
