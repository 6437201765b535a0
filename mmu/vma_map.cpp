#include "mmu/vma_map.hpp"

#include "mmu/assert.hpp"

namespace slat::mmu {

namespace {

bool overlaps(const VmaView& view, std::uintptr_t start, std::uintptr_t end) {
  return start < end && view.start < end && start < view.end; // an empty range overlaps nothing
}

} // namespace

VmaViews inside(const VmaViews& views, std::uintptr_t start, std::uintptr_t end) {
  VmaViews parts;
  for (const VmaView& view : views)
    if (overlaps(view, start, end)) parts.push_back(view.clipped(start, end));
  return parts;
}

VmaViews cut(const VmaViews& views, std::uintptr_t start, std::uintptr_t end) {
  VmaViews rest;
  for (const VmaView& view : views) {
    if (!overlaps(view, start, end)) {
      rest.push_back(view);
      continue;
    }
    if (view.start < start) rest.push_back(view.clipped(view.start, start));
    if (end < view.end) rest.push_back(view.clipped(end, view.end));
  }
  return rest;
}

VmaViews put(VmaViews views, const VmaView& piece) {
  const auto after = std::find_if(views.begin(), views.end(),
                                  [&](const VmaView& view) { return view.start >= piece.start; });
  SLAT_ASSERT(after == views.end() || piece.end <= after->start, "VMAs overlap");
  SLAT_ASSERT(after == views.begin() || std::prev(after)->end <= piece.start, "VMAs overlap");
  views.insert(after, piece);
  return views;
}

VmaViews with_flags(const VmaViews& views, std::uintptr_t start, std::uintptr_t end,
                    std::uint32_t mask, std::uint32_t flags) {
  VmaViews result;
  for (const VmaView& view : views) {
    if (!overlaps(view, start, end)) {
      result.push_back(view);
      continue;
    }
    if (view.start < start) result.push_back(view.clipped(view.start, start));
    VmaView changed = view.clipped(start, end);
    changed.flags = (changed.flags & ~mask) | (flags & mask);
    result.push_back(changed);
    if (end < view.end) result.push_back(view.clipped(end, view.end));
  }
  return result;
}

bool continues(const VmaView& first, const VmaView& second) {
  return first.end == second.start && first.backing == second.backing &&
         first.flags == second.flags && first.page_of(first.end) == second.pgoff;
}

VmaViews coalesced(const VmaViews& views) {
  VmaViews merged;
  for (const VmaView& view : views) {
    if (!merged.empty() && continues(merged.back(), view))
      merged.back().end = view.end;
    else
      merged.push_back(view);
  }
  return merged;
}

std::uintptr_t first_hole(const VmaViews& views, std::uintptr_t start, std::uintptr_t end) {
  std::uintptr_t covered = start;
  for (const VmaView& view : views)
    if (view.start <= covered && covered < view.end) covered = view.end;
  return std::min(covered, end);
}

std::uint64_t bytes_with(const VmaViews& views, std::uint32_t flags) {
  std::uint64_t bytes = 0;
  for (const VmaView& view : views)
    if ((view.flags & flags) == flags) bytes += view.bytes();
  return bytes;
}

} // namespace slat::mmu
