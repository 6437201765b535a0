// Pure functions on a stretch of the map: what it will look like after a change. Every split and
// merge of a VMA is one of these: what is cut leaves its ends, what fits together becomes one.
#pragma once

#include "mmu/vma.hpp"

#include <cstdint>
#include <vector>

namespace slat::mmu {

/// Ascending and disjoint.
using VmaViews = std::vector<VmaView>;

/// The parts of `views` inside [start, end).
[[nodiscard]] VmaViews inside(const VmaViews& views, std::uintptr_t start, std::uintptr_t end);

/// Without [start, end): what reached into it is shortened or split.
[[nodiscard]] VmaViews cut(const VmaViews& views, std::uintptr_t start, std::uintptr_t end);

/// With `piece`, which must not overlap any.
[[nodiscard]] VmaViews put(VmaViews views, const VmaView& piece);

/// With the flags of `mask` set to `flags` inside [start, end).
[[nodiscard]] VmaViews with_flags(const VmaViews& views, std::uintptr_t start, std::uintptr_t end,
                                  std::uint32_t mask, std::uint32_t flags);

/// Neighbours that continue each other become one.
[[nodiscard]] VmaViews coalesced(const VmaViews& views);

/// The first address of [start, end) where nothing is mapped; `end` if there is none.
[[nodiscard]] std::uintptr_t first_hole(const VmaViews& views, std::uintptr_t start,
                                        std::uintptr_t end);

/// Bytes of those whose flags include `flags`.
[[nodiscard]] std::uint64_t bytes_with(const VmaViews& views, std::uint32_t flags);

/// True if `second` continues `first`: address, backing, page and flags.
[[nodiscard]] bool continues(const VmaView& first, const VmaView& second);

} // namespace slat::mmu
