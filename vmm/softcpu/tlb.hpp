// Tlb: linear page -> host page, for one privilege. Direct-mapped; a tag is the linear page with the PCID in its low
// 12 bits, so entries of several address spaces live side by side.
#pragma once

#include "vmm/softcpu/guest_physical.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace slat::vmm::softcpu {

inline constexpr std::uint64_t page_bytes = 4096;
inline constexpr std::uint64_t page_offset_mask = page_bytes - 1;

struct TlbEntry {
  std::array<std::uint64_t, 3> tag; // by Access; a tag that belongs to another index never matches
  std::uintptr_t host;              // of the page's first byte
};

class Tlb {
 public:
  static constexpr std::size_t entries = 1024;

  Tlb() { flush(); }

  [[nodiscard]] TlbEntry& at(std::uint64_t linear) { return table_[index(linear)]; }

  /// The tag that an entry must have for an access at `linear` in address space `pcid` (12 bits).
  static std::uint64_t tag(std::uint64_t linear, std::uint64_t pcid) {
    return (linear & ~page_offset_mask) | pcid;
  }

  void flush() {
    for (std::size_t i = 0; i < entries; ++i) invalidate(i);
  }

  /// Whatever the address space.
  void flush_page(std::uint64_t linear) { invalidate(index(linear)); }

  void flush_space(std::uint64_t pcid) {
    for (std::size_t i = 0; i < entries; ++i) {
      for (const std::uint64_t entry_tag : table_[i].tag) {
        if (entry_tag != other_index(i) && (entry_tag & page_offset_mask) == pcid) {
          invalidate(i);
          break;
        }
      }
    }
  }

  /// Permits `access` and nothing more than the entry permits already if it is the same page.
  void fill(std::uint64_t linear, std::uint64_t pcid, Access access, std::byte* host) {
    const std::size_t i = index(linear);
    TlbEntry& entry = table_[i];
    const std::uint64_t wanted = tag(linear, pcid);
    const auto address = reinterpret_cast<std::uintptr_t>(host);
    bool same = entry.host == address;
    for (const std::uint64_t have : entry.tag)
      same = same && (have == wanted || have == other_index(i));
    if (!same) invalidate(i);
    entry.host = address;
    entry.tag[static_cast<std::size_t>(access)] = wanted;
  }

 private:
  static std::size_t index(std::uint64_t linear) { return (linear / page_bytes) % entries; }

  static std::uint64_t other_index(std::size_t i) { return std::uint64_t{i ^ 1} * page_bytes; }

  void invalidate(std::size_t i) {
    table_[i].tag.fill(other_index(i));
    table_[i].host = 0;
  }

  std::array<TlbEntry, entries> table_;
};

} // namespace slat::vmm::softcpu
