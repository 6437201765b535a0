// TypeStableCache<T>: objects that may be reused at once, but only as a T, until a grace period has
// passed (the kernel's SLAB_TYPESAFE_BY_RCU).
//
// A reader that holds a stale pointer inside an RCU section therefore always looks at some T, and
// finds out with T's own lock word whether it is still the one it wanted. So constructor state
// equals freed state and neither get() nor put() writes to the object (I04).
//
// Each thread slot has a magazine, a small stock of its own (magazine.hpp), which is filled from and
// spilled into slabs (slab_depot.hpp). A thread that exits leaves its magazine to the next one in
// its slot; flush() and a get() that finds no memory empty all magazines, whoever they belong to.
#pragma once

#include "mmu/magazine.hpp"
#include "mmu/slab_depot.hpp"
#include "mmu/thread_slot.hpp"

namespace slat::mmu {

template <class T> class TypeStableCache {
 public:
  static constexpr std::size_t slab_bytes = SlabDepot<T>::slab_bytes;
  static constexpr std::size_t spare_slabs = SlabDepot<T>::spare_slabs;
  static constexpr unsigned magazine_capacity = 32; // objects to a thread slot at most

  TypeStableCache() = default;

  /// Every object has been put back, and no reader looks at one.
  ~TypeStableCache() { magazines_.flush(); }

  TypeStableCache(const TypeStableCache&) = delete;
  TypeStableCache& operator=(const TypeStableCache&) = delete;

  /// An object in constructor state or as the last put() left it, whose writes are visible. nullptr
  /// when memory is used up. May sleep.
  [[nodiscard]] T* get() { return magazines_.get(thread_slot()); }

  /// The object is dead to new readers (its lock word says so); old ones may still look at it. It
  /// may be handed out again at once, and most likely to this thread. Does not sleep but for a
  /// mutex held for some stores.
  void put(T* object) { magazines_.put(object, thread_slot()); }

  /// Magazines hold slabs back that are otherwise empty, at worst one for each object. This empties
  /// them; slabs go back to the allocator after a grace period, but for spare_slabs. Worth it when
  /// many objects have been put at once. Any thread.
  void flush() { magazines_.flush(); }

  /// The same, and the spare slabs go back as well.
  void shrink() {
    magazines_.flush();
    depot_.shrink();
  }

  struct Usage {
    std::size_t live;  // objects handed out
    std::size_t slabs; // slabs held, of slab_bytes each
  };

  /// Exact only when nothing moves.
  [[nodiscard]] Usage usage() {
    const std::size_t stock = magazines_.stock(); // first: what moves to the depot is not live
    const auto [taken, slabs] = depot_.usage();
    return {taken > stock ? taken - stock : 0, slabs};
  }

 private:
  SlabDepot<T> depot_;
  Magazines<StdAtomics, T, SlabDepot<T>, thread_slots, magazine_capacity> magazines_{depot_};
};

} // namespace slat::mmu
