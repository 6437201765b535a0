// The arm64 stage-2 descriptor, 4 KiB granule (Arm ARM, VMSAv8-64 stage 2; hardware management of the
// access flag and of dirty state, FEAT_HAFDBS).
//
//   0 valid   1 table, or page at level 1; 0 there is a block   5-2 MemAttr   6 S2AP read   7 S2AP write
//   9-8 shareability   10 access flag   47-12 address   51 DBM   54-53 XN   58-55 software's
// Levels are counted as everywhere here, from 1 for pages up; Arm counts them from 3 down.
//
// There is no dirty bit: with DBM set, S2AP write *is* it. A writable clean leaf has DBM alone, the
// first write sets S2AP write, and write-protected means neither.
#pragma once

#include "mmu/stage2/entry.hpp"

namespace slat::mmu::stage2 {

struct Arm64Format {
  static constexpr unsigned index_bits = 9;
  static constexpr unsigned fan_out = 1u << index_bits;
  static constexpr unsigned min_levels = 3;
  static constexpr unsigned max_levels = 4;
  static constexpr unsigned max_leaf_level = 3;

  static constexpr unsigned shift(unsigned level) { return 12 + index_bits * (level - 1); }

  static constexpr std::uint64_t span(unsigned level) { return std::uint64_t(1) << shift(level); }

  static constexpr bool present(std::uint64_t entry) { return (entry & valid_bit) != 0; }

  static constexpr bool is_table(std::uint64_t entry, unsigned level) {
    return level > 1 && (entry & (valid_bit | table_bit)) == (valid_bit | table_bit);
  }

  static constexpr bool is_leaf(std::uint64_t entry, unsigned level) {
    return present(entry) && !is_table(entry, level);
  }

  static constexpr std::uint64_t address(std::uint64_t entry) {
    return entry & 0x0000'ffff'ffff'f000;
  }

  static constexpr std::uint64_t leaf(std::uint64_t host, unsigned level, Permissions allowed,
                                      MemoryType type = MemoryType::write_back) {
    return host | valid_bit | (level == 1 ? table_bit : 0) | read_bit |
           (allowed.write ? dirty_modifier_bit | may_write_bit : 0) |
           (allowed.execute ? 0 : execute_never) | inner_shareable | access_bit |
           (type == MemoryType::write_back ? normal_write_back : device_nGnRE);
  }

  static constexpr std::uint64_t table(std::uint64_t page) { return page | valid_bit | table_bit; }

  static constexpr Permissions permissions(std::uint64_t leaf) {
    return {(leaf & read_bit) != 0, writable(leaf), (leaf & execute_never) == 0};
  }

  static constexpr MemoryType memory_type(std::uint64_t leaf) {
    return (leaf & normal_write_back) == normal_write_back ? MemoryType::write_back
                                                           : MemoryType::uncached;
  }

  static constexpr bool writable(std::uint64_t leaf) {
    return (leaf & (write_bit | dirty_modifier_bit)) != 0;
  }

  static constexpr bool dirty(std::uint64_t leaf) { return (leaf & write_bit) != 0; }

  static constexpr bool accessed(std::uint64_t leaf) { return (leaf & access_bit) != 0; }

  static constexpr std::uint64_t write_enabled(std::uint64_t leaf) {
    return leaf | dirty_modifier_bit;
  }

  static constexpr std::uint64_t write_protected(std::uint64_t leaf) {
    return leaf & ~(write_bit | dirty_modifier_bit);
  }

  static constexpr std::uint64_t cleaned(std::uint64_t leaf) { return leaf & ~write_bit; }

  static constexpr std::uint64_t aged(std::uint64_t leaf) { return leaf & ~access_bit; }

  static constexpr std::uint64_t used(std::uint64_t leaf, bool write) {
    return leaf | access_bit | (write ? write_bit : 0);
  }

  static constexpr std::uint64_t history(std::uint64_t leaf) {
    return leaf & (access_bit | write_bit);
  }

  static constexpr std::uint64_t part(std::uint64_t leaf, unsigned level, unsigned index) {
    const std::uint64_t whole = level > 2 ? leaf : leaf | table_bit;
    return whole + index * span(level - 1);
  }

  static constexpr std::uint64_t whole(std::uint64_t first, unsigned level) {
    return level > 2 ? first : first & ~table_bit;
  }

  static constexpr std::uint64_t reserved(std::uint64_t entry, unsigned level) {
    constexpr std::uint64_t high_address = 0x0007'0000'0000'0000; // 50-48: no LPA2
    if (is_table(entry, level)) return high_address;
    if (level == 1) return high_address;
    return high_address | ((span(level) - 1) & address_mask);
  }

 private:
  static constexpr std::uint64_t valid_bit = 1u << 0;
  static constexpr std::uint64_t table_bit = 1u << 1;
  static constexpr std::uint64_t normal_write_back = 0xfu << 2;
  static constexpr std::uint64_t device_nGnRE = 0x1u << 2;
  static constexpr std::uint64_t read_bit = 1u << 6;
  static constexpr std::uint64_t write_bit = 1u << 7;
  static constexpr std::uint64_t inner_shareable = 3u << 8;
  static constexpr std::uint64_t access_bit = 1u << 10;
  static constexpr std::uint64_t dirty_modifier_bit = std::uint64_t(1) << 51;
  static constexpr std::uint64_t execute_never = std::uint64_t(2) << 53; // XN[1:0] = 0b10
};

// Known good: a read-only page, execute-never; a 2 MiB block; a dirty writable page.
static_assert(Arm64Format::leaf(0x1000, 1, {}) == 0x0040'0000'0000'177f);
static_assert(Arm64Format::leaf(0x20'0000, 2, {true, false, true}) == 0x20'077d);
static_assert(Arm64Format::memory_type(0x20'077d) == MemoryType::write_back &&
              Arm64Format::memory_type(Arm64Format::leaf(0, 1, {}, MemoryType::uncached)) ==
                  MemoryType::uncached);
static_assert(Arm64Format::used(Arm64Format::leaf(0, 1, {true, true, true}), true) ==
              (0x0008'0000'0000'07ff | may_write_bit));
static_assert(Arm64Format::table(0x7000) == 0x7003);
static_assert(!Arm64Format::present(frozen_bit) && !Arm64Format::present(dead_entry(0x7000)));
static_assert(Arm64Format::part(Arm64Format::leaf(0x20'0000, 2, {}), 2, 3) ==
              Arm64Format::leaf(0x20'3000, 1, {}));
static_assert(Arm64Format::whole(Arm64Format::leaf(0x20'0000, 1, {}), 2) ==
              Arm64Format::leaf(0x20'0000, 2, {}));
static_assert(Arm64Format::dirty(Arm64Format::used(Arm64Format::leaf(0, 1, {true, true}), true)) &&
              !Arm64Format::dirty(Arm64Format::leaf(0, 1, {true, true})));

} // namespace slat::mmu::stage2
