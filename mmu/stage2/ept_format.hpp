// The EPT entry (Intel SDM volume 3, "EPT Translation Mechanism"; accessed and dirty flags enabled).
//
//   0 R   1 W   2 X   5-3 memory type   6 ignore PAT   7 page size (a leaf above level 1)
//   8 accessed   9 dirty   51-12 address   ignored by hardware: 11, 56-52 and more
// A table has R, W, X and an address; bits 7-3 of it are reserved, so are the low address bits of a
// huge leaf.
#pragma once

#include "mmu/stage2/entry.hpp"

namespace slat::mmu::stage2 {

struct EptFormat {
  static constexpr unsigned index_bits = 9;
  static constexpr unsigned fan_out = 1u << index_bits;
  static constexpr unsigned min_levels = 4;
  static constexpr unsigned max_levels = 5;
  static constexpr unsigned max_leaf_level = 3; // 1 GiB

  /// Bits of an input address that a page of `level` leaves alone.
  static constexpr unsigned shift(unsigned level) { return 12 + index_bits * (level - 1); }

  static constexpr std::uint64_t span(unsigned level) { return std::uint64_t(1) << shift(level); }

  static constexpr bool present(std::uint64_t entry) { return (entry & rwx) != 0; }

  static constexpr bool is_table(std::uint64_t entry, unsigned level) {
    // Present and without the page size bit, as one comparison: absent wraps around.
    return level > 1 && (entry & (rwx | page_size_bit)) - 1 < rwx;
  }

  static constexpr bool is_leaf(std::uint64_t entry, unsigned level) {
    return present(entry) && !is_table(entry, level);
  }

  static constexpr std::uint64_t address(std::uint64_t entry) { return entry & address_mask; }

  /// A clean, young leaf. `host` is aligned to the level's span; a leaf is always readable.
  static constexpr std::uint64_t leaf(std::uint64_t host, unsigned level, Permissions allowed,
                                      MemoryType type = MemoryType::write_back) {
    return host | read_bit | (allowed.write ? write_bit | may_write_bit : 0) |
           (allowed.execute ? execute_bit : 0) | (level > 1 ? page_size_bit : 0) | accessed_bit |
           (type == MemoryType::write_back ? write_back << 3 : 0) | ignore_pat_bit;
  }

  static constexpr std::uint64_t table(std::uint64_t page) { return page | rwx; }

  static constexpr Permissions permissions(std::uint64_t leaf) {
    return {(leaf & read_bit) != 0, (leaf & write_bit) != 0, (leaf & execute_bit) != 0};
  }

  static constexpr MemoryType memory_type(std::uint64_t leaf) {
    return (leaf >> 3 & 7) == write_back ? MemoryType::write_back : MemoryType::uncached;
  }

  /// A write does not fault.
  static constexpr bool writable(std::uint64_t leaf) { return (leaf & write_bit) != 0; }

  static constexpr bool dirty(std::uint64_t leaf) { return (leaf & dirty_bit) != 0; }

  static constexpr bool accessed(std::uint64_t leaf) { return (leaf & accessed_bit) != 0; }

  static constexpr std::uint64_t write_enabled(std::uint64_t leaf) { return leaf | write_bit; }

  /// Also clean: whoever drops a dirty bit has noted it before.
  static constexpr std::uint64_t write_protected(std::uint64_t leaf) {
    return leaf & ~(write_bit | dirty_bit);
  }

  static constexpr std::uint64_t cleaned(std::uint64_t leaf) { return leaf & ~dirty_bit; }

  static constexpr std::uint64_t aged(std::uint64_t leaf) { return leaf & ~accessed_bit; }

  /// What hardware makes of a leaf that it uses; a write needs a writable one.
  static constexpr std::uint64_t used(std::uint64_t leaf, bool write) {
    return leaf | accessed_bit | (write ? dirty_bit : 0);
  }

  /// What accesses have left behind, to be carried over when an entry is replaced.
  static constexpr std::uint64_t history(std::uint64_t leaf) {
    return leaf & (accessed_bit | dirty_bit);
  }

  /// Leaf `index` of the table, one level below, that maps what `leaf` maps.
  static constexpr std::uint64_t part(std::uint64_t leaf, unsigned level, unsigned index) {
    const std::uint64_t whole = level > 2 ? leaf : leaf & ~page_size_bit;
    return whole + index * span(level - 1);
  }

  /// The leaf of `level` whose part 0 is `first`.
  static constexpr std::uint64_t whole(std::uint64_t first, unsigned) {
    return first | page_size_bit;
  }

  /// Bits that must be zero in a present entry.
  static constexpr std::uint64_t reserved(std::uint64_t entry, unsigned level) {
    if (is_table(entry, level)) return 0xf8;
    return level > 1 ? (span(level) - 1) & address_mask : 0;
  }

 private:
  static constexpr std::uint64_t read_bit = 1u << 0;
  static constexpr std::uint64_t write_bit = 1u << 1;
  static constexpr std::uint64_t execute_bit = 1u << 2;
  static constexpr std::uint64_t rwx = 7;
  static constexpr std::uint64_t write_back = 6; // memory type; uncached is 0
  static constexpr std::uint64_t ignore_pat_bit = 1u << 6;
  static constexpr std::uint64_t page_size_bit = 1u << 7;
  static constexpr std::uint64_t accessed_bit = 1u << 8;
  static constexpr std::uint64_t dirty_bit = 1u << 9;
};

// Known good: a 4 KiB page R|W|X, write-back, IPAT, accessed; a read-only uncached one; a 2 MiB leaf.
static_assert((EptFormat::leaf(0x1234'5000, 1, {true, true, true}) & ~may_write_bit) ==
              0x1234'5177);
static_assert(EptFormat::leaf(0x1000, 1, {}, MemoryType::uncached) == 0x1141);
static_assert(EptFormat::leaf(0x20'0000, 2, {}) == 0x20'01f1);
static_assert(EptFormat::memory_type(0x1141) == MemoryType::uncached &&
              EptFormat::memory_type(0x20'01f1) == MemoryType::write_back);
static_assert(EptFormat::table(0x7000) == 0x7007);
static_assert(EptFormat::used(EptFormat::table(0), true) == 0x307);
static_assert(EptFormat::shift(1) == 12 && EptFormat::shift(3) == 30 && EptFormat::shift(5) == 48);
static_assert(EptFormat::reserved(EptFormat::leaf(0, 2, {}), 2) == 0x1f'f000);
static_assert(!EptFormat::present(frozen_bit) && !EptFormat::present(dead_entry(0x7000)));
static_assert(EptFormat::part(EptFormat::leaf(0x20'0000, 2, {}), 2, 3) ==
              EptFormat::leaf(0x20'3000, 1, {}));
static_assert(EptFormat::whole(EptFormat::leaf(0x20'0000, 1, {}), 2) ==
              EptFormat::leaf(0x20'0000, 2, {}));

} // namespace slat::mmu::stage2
