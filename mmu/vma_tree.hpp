// VmaTree: the VMAs of an mm by address. One writer under the mm write lock; readers under RCU, or
// under the mm lock.
//
// One sorted, immutable array, replaced as a whole: a reader sees the old or the new map and never
// a mixture (I11); the old array is freed after a grace period. A change is prepared first, which
// may fail, and committed later, which cannot.
#pragma once

#include "mmu/error.hpp"
#include "mmu/reclaimer.hpp"
#include "mmu/vma.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

namespace slat::mmu {

class VmaTree {
  struct Map;

  struct FreeMap {
    void operator()(Map* map) const;
  };

 public:
  using Prepared = std::unique_ptr<Map, FreeMap>;

  VmaTree() = default;
  /// No reader is left and none will come.
  ~VmaTree();
  VmaTree(const VmaTree&) = delete;
  VmaTree& operator=(const VmaTree&) = delete;

  /// The VMA whose range holds `address`, or nullptr. RCU section or mm lock. Under RCU alone the
  /// VMA may be dead or recycled already: only its lock tells.
  [[nodiscard]] Vma* find(std::uintptr_t address) const;

  /// The VMAs that overlap [start, end), ascending. mm lock; valid until the next commit().
  [[nodiscard]] std::span<Vma* const> overlapping(std::uintptr_t start, std::uintptr_t end) const;

  /// All VMAs, ascending. mm lock; valid until the next commit().
  [[nodiscard]] std::span<Vma* const> all() const;

  /// The map without `remove` and with `insert`, whose ranges must then not overlap. mm write lock
  /// (I10). The fields of inserted VMAs are final. Fails only for want of memory, and then nothing
  /// has changed. May sleep.
  Result<Prepared> prepare(std::span<Vma* const> remove, std::span<Vma* const> insert) const;

  /// Publishes a prepared map; no other commit() in between. mm write lock. Does not sleep and
  /// cannot fail.
  void commit(Prepared prepared);

 private:
  std::atomic<Map*> map_{nullptr}; // release in commit() pairs with acquire in readers
};

} // namespace slat::mmu
