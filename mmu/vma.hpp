// What a VMA (vm_area_struct) is, whatever locks it: one range of the guest view, one to one with
// a host mapping.
#pragma once

#include "mmu/backing.hpp"

#include <algorithm>
#include <cstdint>

namespace slat::mmu {

enum VmFlags : std::uint32_t {
  vm_none = 0,
  vm_read = 1,
  vm_write = 2,
  vm_exec = 4,
  vm_locked = 8, // its pages stay: no reclaim, no discard (mlock)
};

inline constexpr std::uint32_t vm_access_flags = vm_read | vm_write | vm_exec;

/// The fields of a VMA at one moment, or a VMA that is yet to be.
struct VmaView {
  std::uintptr_t start = 0; // bytes, page aligned
  std::uintptr_t end = 0;   // exclusive
  std::uint64_t pgoff = 0;  // page of the backing at start
  std::uint32_t flags = vm_none;
  Backing* backing = nullptr;

  [[nodiscard]] bool contains(std::uintptr_t address) const {
    return start <= address && address < end;
  }

  [[nodiscard]] std::uint64_t bytes() const { return end - start; }

  /// The page of the backing behind `address`.
  [[nodiscard]] std::uint64_t page_of(std::uintptr_t address) const {
    return pgoff + ((address - start) >> page_shift);
  }

  [[nodiscard]] PageRun pages() const { return {pgoff, std::size_t(bytes() >> page_shift)}; }

  /// The part inside [from, to), which it overlaps.
  [[nodiscard]] VmaView clipped(std::uintptr_t from, std::uintptr_t to) const {
    VmaView part = *this;
    part.start = std::max(start, from);
    part.end = std::min(end, to);
    part.pgoff = page_of(part.start);
    return part;
  }

  bool operator==(const VmaView&) const = default;
};

/// The fields in the object. They are written while the VMA is detached or write-locked. Where a
/// reader holds the VMA still they are plain; a speculative reader needs them atomic.
template <template <class> class Field> struct VmaFields {
  Field<std::uintptr_t> vm_start{0};
  Field<std::uintptr_t> vm_end{0};
  Field<std::uint64_t> vm_pgoff{0};
  Field<std::uint32_t> vm_flags{vm_none};
  Field<Backing*> vm_backing{nullptr}; // with a reference from allocation to release

  [[nodiscard]] VmaView view() const { return {vm_start, vm_end, vm_pgoff, vm_flags, vm_backing}; }

  void set(const VmaView& view) {
    vm_start = view.start;
    vm_end = view.end;
    vm_pgoff = view.pgoff;
    vm_flags = view.flags;
    vm_backing = view.backing;
  }
};

#ifdef SLAT_EXPLORE
template <class T> using PlainField = explore::Field<T>;
#else
template <class T> using PlainField = T;
#endif

/// A VMA held for reading by a fault: a ticket. What it takes to hold one, and
/// what may be done with it, is the design's to say.
struct VmaTicket {
  void* vma = nullptr;
  VmaView view; // as of when it was taken; stable while it is held but for speculation
  std::uint64_t sequence = 0; // speculation: what commit() compares
  bool by_mm_lock = false;    // the mm read lock is held with it

  explicit operator bool() const { return vma != nullptr; }
};

} // namespace slat::mmu
