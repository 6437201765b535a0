#include "vmm/guest_walk.hpp"

#include <fmt/format.h>
#include <span>

namespace slat::vmm {
namespace {

constexpr std::uint64_t entry_present = 1U << 0;
constexpr std::uint64_t entry_large = 1U << 7;
constexpr std::uint64_t entry_address = 0x000ffffffffff000;

} // namespace

bool is_canonical(std::uint64_t address, bool five_levels) {
  const unsigned unused = five_levels ? 64 - 57 : 64 - 48;
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(address << unused) >> unused) ==
         address;
}

Result<Gpa> translate(GuestMemory& memory, const PagingState& paging, std::uint64_t address) {
  if ((paging.cr0 & cr0_paging) == 0) return address & UINT32_MAX;
  if ((paging.efer & efer_long_mode_active) == 0)
    return fail(Errc::invalid_argument, 0, "32-bit paging is on, which is not walked");
  const bool five_levels = (paging.cr4 & cr4_five_levels) != 0;
  if (!is_canonical(address, five_levels))
    return fail(Errc::invalid_argument, 0, fmt::format("{:#x} is not canonical", address));

  Gpa table = paging.cr3 & entry_address;
  for (unsigned level = five_levels ? 5 : 4;; --level) {
    const unsigned shift = 12 + 9 * (level - 1);
    const Gpa slot = table + (address >> shift & 511) * sizeof(std::uint64_t);
    std::uint64_t entry = 0;
    if (!memory.read(slot, std::as_writable_bytes(std::span(&entry, 1)))) {
      return fail(Errc::out_of_guest_memory, 0,
                  fmt::format("the level {} page table at {:#x} cannot be read", level, table));
    }
    if ((entry & entry_present) == 0) {
      return fail(
          Errc::invalid_argument, 0,
          fmt::format("the level {} entry {:#x} at {:#x} is not present", level, entry, slot));
    }
    const bool may_be_leaf = level <= 3;
    if (level == 1 || (may_be_leaf && (entry & entry_large) != 0)) {
      const std::uint64_t in_page = (std::uint64_t{1} << shift) - 1;
      return (entry & entry_address & ~in_page) | (address & in_page);
    }
    table = entry & entry_address;
  }
}

} // namespace slat::vmm
