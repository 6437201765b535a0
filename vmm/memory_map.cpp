#include "vmm/memory_map.hpp"

#include "mmu/stage2/stage2_visit.hpp"

#include <algorithm>

namespace slat::vmm {

namespace {

using mmu::PageBits;
using mmu::PageState;
using mmu::stage2::LeafView;

std::uint8_t marks_of(PageBits bits, bool with_flags) {
  switch (bits.state()) {
  case PageState::none:
  case PageState::filling:
    return 0;
  case PageState::reclaimed:
    return PageMark::reclaimed;
  case PageState::poisoned:
    return PageMark::poisoned;
  case PageState::present:
    break;
  }
  unsigned marks = PageMark::resident;
  if (bits.has(PageBits::write_tracked)) marks |= PageMark::write_tracked;
  if (with_flags) {
    if (bits.has(PageBits::installed)) marks |= PageMark::mapped;
    if (bits.has(PageBits::accessed)) marks |= PageMark::young;
    if (bits.has(PageBits::dirty)) marks |= PageMark::dirty;
  }
  return std::uint8_t(marks);
}

void mark_leaf(MemoryMap::Part& part, const LeafView& leaf) {
  // It is mapped, so it has content, whatever its page word said a moment before.
  const unsigned marks =
      PageMark::resident | PageMark::mapped | (leaf.accessed ? PageMark::young : 0u) |
      (leaf.dirty ? PageMark::dirty : 0u) | (leaf.level > 1 ? PageMark::huge : 0u);
  const auto first = part.pages.begin() + std::ptrdiff_t((leaf.address - part.start) / 4096);
  std::for_each_n(first, leaf.bytes / 4096, [marks](std::uint8_t& page) {
    page = std::uint8_t((page & PageMark::write_tracked) | marks);
  });
}

} // namespace

MemoryMap collect_memory_map(std::span<const GuestRam::Region> regions, const mmu::VmaViews& views,
                             const mmu::stage2::Stage2Table<mmu::stage2::EptFormat>* table) {
  MemoryMap map;
  map.from_table = table != nullptr;
  map.parts.reserve(regions.size());
  for (const GuestRam::Region& region : regions) {
    MemoryMap::Part& part = map.parts.emplace_back();
    part.start = region.gpa.start;
    part.pages.resize(region.gpa.size / 4096);
    const std::uintptr_t start = region.guest_view;
    for (const mmu::VmaView& view : mmu::inside(views, start, start + region.gpa.size))
      for (std::uint64_t page = 0; page < view.pages().count; ++page)
        part.pages[(view.start - start) / 4096 + page] =
            marks_of(view.backing->word(view.pgoff + page).read(), table == nullptr);
    if (table == nullptr) continue;
    table->for_each_leaf(part.start, part.end(), [&](const LeafView& leaf) {
      mark_leaf(part, leaf);
      if (leaf.level > 1) map.huge.push_back({leaf.address, leaf.bytes});
    });
  }
  return map;
}

} // namespace slat::vmm
