// A MemoryMap in equal slices: how many pages of each are in which state. What is small enough to be kept many times over.
#pragma once

#include "vmm/memory_map.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace slat::vmm {

/// One word for a page: MemoryState, and `tracked`: it has content, and its first write will be noted. That goes before
/// what it was before.
enum class SliceState { absent, reclaimed, poisoned, unmapped, mapped, young, dirty, tracked };
inline constexpr std::size_t slice_states = 8;

/// "absent" and so on, as recordings have it.
[[nodiscard]] std::string_view name(SliceState state);

struct MemorySlice {
  std::array<std::uint32_t, slice_states> pages{}; // by SliceState
  std::uint32_t huge = 0;                          // of all of them, in huge leaves

  [[nodiscard]] std::uint32_t total() const;

  bool operator==(const MemorySlice&) const = default;
};

/// Cuts the pages of all parts, one after another and without the holes between them, into `count` slices (1 up; at
/// least one page each, or there are fewer): slice i is of the pages from i * pages / count. Pure. May throw
/// std::bad_alloc.
[[nodiscard]] std::vector<MemorySlice> slice_memory(const MemoryMap& map, std::size_t count);

} // namespace slat::vmm
