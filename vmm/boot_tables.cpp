#include "vmm/boot_tables.hpp"

#include "vmm/layout.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fmt/format.h>
#include <span>
#include <vector>

namespace slat::vmm {
namespace {

constexpr std::size_t table_entries = 512;
constexpr std::uint64_t entry_present = 1U << 0;
constexpr std::uint64_t entry_writable = 1U << 1;
constexpr std::uint64_t entry_user = 1U << 2;
constexpr std::uint64_t entry_large = 1U << 7;
constexpr std::uint64_t entry_table = entry_present | entry_writable | entry_user;

constexpr std::uint64_t directories_limit =
    (page_tables_end - page_tables_address) / guest_page_size - 2;
static_assert(device_hole_end - device_hole_start + max_ram_size <= directories_limit * gib,
              "the tables of the largest guest must fit below page_tables_end");
static_assert(page_tables_end <= low_ram_end && directories_limit <= table_entries);

// The TSS is all zero but for its I/O bitmap offset, which points past its end: no bitmap.
struct GdtAndTss {
  std::array<std::uint64_t, 8> gdt;
  std::array<std::uint32_t, 26> tss;
};

constexpr std::uint32_t tss_limit = sizeof(GdtAndTss::tss) - 1;
constexpr Gpa tss_address = gdt_address + offsetof(GdtAndTss, tss);
static_assert(sizeof(GdtAndTss::tss) == 104 && tss_address % 8 == 0);

constexpr std::uint64_t descriptor(const SegmentValue& s) {
  const std::uint64_t limit = s.granular ? s.limit >> 12 : s.limit;
  const std::uint64_t access =
      std::uint64_t{s.type} | (s.code_or_data ? 0x10U : 0U) | (std::uint64_t{s.dpl} << 5) | 0x80U;
  const std::uint64_t flags = (s.long_mode ? 2U : 0U) | (s.big ? 4U : 0U) | (s.granular ? 8U : 0U);
  return (limit & 0xffff) | ((s.base & 0xffffff) << 16) | (access << 40) |
         ((limit >> 16 & 0xf) << 48) | (flags << 52) | ((s.base >> 24 & 0xff) << 56);
}

GdtAndTss make_gdt() {
  GdtAndTss out{};
  const auto slot = [&out](std::uint16_t selector) -> std::uint64_t& {
    return out.gdt[selector / 8];
  };
  slot(kernel_code_selector) = descriptor(kernel_code);
  slot(kernel_data_selector) = descriptor(kernel_data);
  slot(task_selector) = descriptor(task_segment());
  slot(task_selector + 8) = task_segment().base >> 32;
  slot(user_data_selector) = descriptor(user_data);
  slot(user_code_selector) = descriptor(user_code);
  out.tss.back() = std::uint32_t{sizeof out.tss} << 16;
  return out;
}

/// PML4, PDPT, then one page directory a GiB, all next to each other from page_tables_address.
std::vector<std::uint64_t> make_page_tables(std::size_t directories) {
  std::vector<std::uint64_t> tables((2 + directories) * table_entries);
  const auto page_of = [](std::size_t index) {
    return page_tables_address + index * guest_page_size;
  };
  tables[0] = page_of(1) | entry_table;
  for (std::size_t i = 0; i < directories; ++i)
    tables[table_entries + i] = page_of(2 + i) | entry_table;
  for (std::size_t i = 0; i < directories * table_entries; ++i)
    tables[2 * table_entries + i] = i * (2 * mib) | entry_table | entry_large;
  return tables;
}

} // namespace

SegmentValue task_segment() {
  constexpr std::uint8_t busy_64bit_tss = 11; // as ltr leaves it; VMX accepts nothing else
  return {task_selector, busy_64bit_tss, 0, false, false, false, false, tss_address, tss_limit};
}

std::uint64_t mapped_end(const GuestMemory& memory) {
  const auto ram = memory.ranges();
  const std::uint64_t end = ram.empty() ? 0 : ram.back().start + ram.back().size;
  return std::max(device_hole_end, (end + gib - 1) / gib * gib);
}

Result<EntryState> write_boot_tables(GuestMemory& memory, Gpa entry) {
  const std::uint64_t end = mapped_end(memory);
  if (end > directories_limit * gib) {
    return fail(
        Errc::invalid_argument, 0,
        fmt::format(
            "guest RAM reaches to {}, and the boot page tables to {}; give the guest at most {}",
            format_size(end), format_size(directories_limit * gib), format_size(max_ram_size)));
  }
  const auto gdt = make_gdt();
  auto written = memory.write(gdt_address, std::as_bytes(std::span(&gdt, 1)));
  if (!written) return forward(written);
  const auto tables = make_page_tables(end / gib);
  written = memory.write(page_tables_address, std::as_bytes(std::span(tables)));
  if (!written) return forward(written);

  EntryState state{};
  state.rip = entry;
  state.rsi = boot_params_address;
  state.rflags = 0x2;     // the bit that is always set
  state.cr0 = 0x80010033; // PG, WP, NE, ET, MP, PE
  state.cr3 = page_tables_address;
  state.cr4 = 0x620;  // PAE, and OSFXSR with OSXMMEXCPT, so that guests may use SSE
  state.efer = 0x500; // LME, LMA
  state.gdt = {gdt_address, sizeof gdt.gdt - 1};
  state.code = kernel_code;
  state.data = kernel_data;
  state.task = task_segment();
  return state;
}

} // namespace slat::vmm
