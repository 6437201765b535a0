#include "mmu/vma_tree.hpp"

#include "mmu/alloc.hpp"
#include "mmu/rcu.hpp"

#include <algorithm>
#include <new>

namespace slat::mmu {

// Ranges are copied into the map: a reader must not look into a VMA that it has not locked.
struct VmaTree::Map {
  DeferredCall retire; // first: a DeferredCall* is a Map*
  std::size_t count = 0;
  std::uintptr_t* starts = nullptr;
  std::uintptr_t* ends = nullptr;
  Vma** vmas = nullptr;

  static Map* create(std::size_t count) {
    void* const memory =
        allocate(sizeof(Map) + count * (2 * sizeof(std::uintptr_t) + sizeof(Vma*)), alignof(Map));
    if (memory == nullptr) return nullptr;
    Map* const map = new (memory) Map;
    map->count = count;
    map->starts = reinterpret_cast<std::uintptr_t*>(map + 1);
    map->ends = map->starts + count;
    map->vmas = reinterpret_cast<Vma**>(map->ends + count);
    return map;
  }

  /// The first entry that ends after `address`.
  [[nodiscard]] std::size_t first_ending_after(std::uintptr_t address) const {
    return std::size_t(std::upper_bound(ends, ends + count, address) - ends);
  }
};

void VmaTree::FreeMap::operator()(Map* map) const {
  deallocate(map);
}

VmaTree::~VmaTree() {
  deallocate(map_.load(std::memory_order_relaxed));
} // nobody else is left

Vma* VmaTree::find(std::uintptr_t address) const {
  const Map* const map = map_.load(std::memory_order_acquire); // pairs with commit()
  if (map == nullptr) return nullptr;
  const std::size_t i = map->first_ending_after(address);
  return i < map->count && map->starts[i] <= address ? map->vmas[i] : nullptr;
}

std::span<Vma* const> VmaTree::overlapping(std::uintptr_t start, std::uintptr_t end) const {
  const Map* const map = map_.load(std::memory_order_acquire); // pairs with commit()
  if (map == nullptr) return {};
  const std::size_t first = map->first_ending_after(start);
  const auto last = std::size_t(
      std::lower_bound(map->starts + first, map->starts + map->count, end) - map->starts);
  return {map->vmas + first, last - first};
}

std::span<Vma* const> VmaTree::all() const {
  const Map* const map = map_.load(std::memory_order_acquire); // pairs with commit()
  if (map == nullptr) return {};
  return {map->vmas, map->count};
}

Result<VmaTree::Prepared> VmaTree::prepare(std::span<Vma* const> remove,
                                           std::span<Vma* const> insert) const {
  const std::span<Vma* const> old = all();
  Prepared fresh(Map::create(old.size() - remove.size() + insert.size()));
  if (!fresh) return fail(Errc::no_memory, ENOMEM, "no memory for the map of VMAs");
  std::size_t n = 0;
  for (Vma* vma : old)
    if (std::find(remove.begin(), remove.end(), vma) == remove.end()) fresh->vmas[n++] = vma;
  for (Vma* vma : insert) fresh->vmas[n++] = vma;
  SLAT_ASSERT(n == fresh->count, "a VMA to remove is not in the tree");
  std::sort(fresh->vmas, fresh->vmas + n,
            [](const Vma* a, const Vma* b) { return a->vm_start < b->vm_start; });
  for (std::size_t i = 0; i < n; ++i) {
    fresh->starts[i] = fresh->vmas[i]->vm_start;
    fresh->ends[i] = fresh->vmas[i]->vm_end;
    SLAT_ASSERT(i == 0 || fresh->ends[i - 1] <= fresh->starts[i], "VMAs overlap");
  }
  return fresh;
}

void VmaTree::commit(Prepared prepared) {
  Map* const old =
      map_.load(std::memory_order_relaxed); // only the holder of the mm write lock writes it
  map_.store(prepared.release(), std::memory_order_release); // pairs with readers' acquire (I11)
  if (old != nullptr)
    rcu::call(old->retire, [](DeferredCall* call) { deallocate(reinterpret_cast<Map*>(call)); });
}

} // namespace slat::mmu
