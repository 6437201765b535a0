#include "vmm/memory_slices.hpp"

#include <algorithm>
#include <numeric>

namespace slat::vmm {

namespace {

SliceState slice_state(std::uint8_t marks) {
  constexpr unsigned noted = PageMark::resident | PageMark::write_tracked;
  if ((marks & noted) == noted) return SliceState::tracked;
  return SliceState(memory_state(marks)); // the same words in the same order
}

static_assert(std::size_t(SliceState::dirty) == std::size_t(MemoryState::dirty));
static_assert(std::size_t(SliceState::reclaimed) == std::size_t(MemoryState::reclaimed));

} // namespace

std::string_view name(SliceState state) {
  constexpr std::array<std::string_view, slice_states> names{
      "absent", "reclaimed", "poisoned", "unmapped", "mapped", "young", "dirty", "tracked"};
  return names[std::size_t(state)];
}

std::uint32_t MemorySlice::total() const {
  return std::accumulate(pages.begin(), pages.end(), 0u);
}

std::vector<MemorySlice> slice_memory(const MemoryMap& map, std::size_t count) {
  std::uint64_t total = 0;
  for (const MemoryMap::Part& part : map.parts) total += part.pages.size();
  count = std::min<std::size_t>(count, total);
  std::vector<MemorySlice> slices(count);
  std::size_t slice = 0;
  std::uint64_t page = 0;
  std::uint64_t next = count == 0 ? 0 : total / count; // page where the next slice begins
  for (const MemoryMap::Part& part : map.parts) {
    for (const std::uint8_t marks : part.pages) {
      if (page == next) {
        ++slice;
        next = (slice + 1) * total / count;
      }
      ++slices[slice].pages[std::size_t(slice_state(marks))];
      if ((marks & PageMark::huge) != 0) ++slices[slice].huge;
      ++page;
    }
  }
  return slices;
}

} // namespace slat::vmm
