// SlabDepot<T>: slabs of T, and the free ones among them, under a mutex. What TypeStableCache's
// magazines are filled from. Free objects are chained by index in the slab's header, never through
// the objects themselves (I04).
#pragma once

#include "mmu/alloc.hpp"
#include "mmu/assert.hpp"
#include "mmu/rcu.hpp"
#include "mmu/thread_safety.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace slat::mmu {

template <class T> class SlabDepot {
 public:
  static constexpr std::size_t slab_bytes = 16384;
  static constexpr std::size_t spare_slabs = 1; // empty slabs kept against a sawtooth

  SlabDepot() = default;

  /// Every object has been given back, and no reader looks at one.
  ~SlabDepot() {
    rcu::barrier(); // slabs on their way out
    MutexGuard guard(mutex_);
    SLAT_ASSERT(taken_ == 0, "a type-stable cache is destroyed while objects are out");
    for (Slab* slab = partial_; slab != nullptr;) {
      Slab* const next = slab->next;
      destroy(slab);
      slab = next;
    }
  }

  SlabDepot(const SlabDepot&) = delete;
  SlabDepot& operator=(const SlabDepot&) = delete;

  /// Up to `most` objects in constructor state or as they were given back; returns how many. A new
  /// slab is made for the first one only, and only if `grow`. 0 when memory is used up. May sleep.
  [[nodiscard]] unsigned take(T** objects, unsigned most, bool grow) SLAT_EXCLUDES(mutex_) {
    MutexGuard guard(mutex_);
    unsigned count = 0;
    for (; count < most; ++count) {
      if (partial_ == nullptr && (count != 0 || !grow || !create())) break;
      Slab* const slab = partial_;
      const std::uint16_t index = slab->free_head;
      slab->free_head = slab->free_next[index];
      if (slab->used++ == 0) --empty_slabs_;
      if (slab->used == capacity) unlink(slab);
      objects[count] = slab->object(index);
    }
    taken_ += count;
    return count;
  }

  /// Slabs that this empties go back to the allocator after a grace period, but for the spare ones.
  /// Does not sleep but for the inner mutex.
  void give(T* const* objects, unsigned count) SLAT_EXCLUDES(mutex_) {
    MutexGuard guard(mutex_);
    taken_ -= count;
    for (unsigned i = 0; i < count; ++i) {
      Slab* const slab = Slab::of(objects[i]);
      const std::uint16_t index = slab->index_of(objects[i]);
      if (slab->used == capacity) link(slab);
      slab->free_next[index] = slab->free_head;
      slab->free_head = index;
      if (--slab->used == 0 && ++empty_slabs_ > spare_slabs) retire(slab);
    }
  }

  /// The spare slabs as well.
  void shrink() SLAT_EXCLUDES(mutex_) {
    MutexGuard guard(mutex_);
    for (Slab* slab = partial_; slab != nullptr;) {
      Slab* const next = slab->next;
      if (slab->used == 0) retire(slab);
      slab = next;
    }
  }

  struct Usage {
    std::size_t taken; // objects that are not here
    std::size_t slabs; // slabs held, of slab_bytes each
  };

  [[nodiscard]] Usage usage() SLAT_EXCLUDES(mutex_) {
    MutexGuard guard(mutex_);
    return {taken_, slabs_};
  }

 private:
  static constexpr std::size_t header_bytes = 64; // at least what stands before free_next
  static constexpr std::size_t capacity =
      (slab_bytes - header_bytes - alignof(T)) / (sizeof(T) + sizeof(std::uint16_t));

  struct alignas(alignof(T)) Slab {
    DeferredCall retire; // first: a DeferredCall* is a Slab*
    Slab* next = nullptr;
    Slab* previous = nullptr;
    std::uint16_t used = 0;
    std::uint16_t free_head = 0;
    std::uint16_t free_next[capacity];
    alignas(T) std::byte storage[capacity * sizeof(T)];

    T* object(std::size_t index) { return std::launder(reinterpret_cast<T*>(storage) + index); }

    std::uint16_t index_of(T* object) {
      return std::uint16_t(std::size_t(reinterpret_cast<std::byte*>(object) - storage) / sizeof(T));
    }

    static Slab* of(T* object) {
      return reinterpret_cast<Slab*>(reinterpret_cast<std::uintptr_t>(object) & ~(slab_bytes - 1));
    }
  };

  static_assert(sizeof(Slab) <= slab_bytes && capacity > 0 && capacity < 65535);
  static_assert(std::is_trivially_destructible_v<T>,
                "objects are never destroyed while a reader may look");

  [[nodiscard]] bool create() SLAT_REQUIRES(mutex_) {
    void* const memory = allocate(slab_bytes, slab_bytes);
    if (memory == nullptr) return false;
    Slab* const slab = new (memory) Slab;
    for (std::size_t i = 0; i < capacity; ++i) {
      new (slab->storage + i * sizeof(T)) T;
      slab->free_next[i] = std::uint16_t(i + 1);
    }
    ++slabs_;
    ++empty_slabs_;
    link(slab);
    return true;
  }

  void retire(Slab* slab) SLAT_REQUIRES(mutex_) {
    --empty_slabs_;
    --slabs_;
    unlink(slab);
    rcu::call(slab->retire, [](DeferredCall* call) { destroy(reinterpret_cast<Slab*>(call)); });
  }

  static void destroy(Slab* slab) { deallocate(slab); }

  void link(Slab* slab) SLAT_REQUIRES(mutex_) {
    slab->previous = nullptr;
    slab->next = partial_;
    if (partial_ != nullptr) partial_->previous = slab;
    partial_ = slab;
  }

  void unlink(Slab* slab) SLAT_REQUIRES(mutex_) {
    (slab->previous != nullptr ? slab->previous->next : partial_) = slab->next;
    if (slab->next != nullptr) slab->next->previous = slab->previous;
  }

  Mutex mutex_{LockRank::object_cache};
  Slab* partial_ SLAT_GUARDED_BY(mutex_) = nullptr; // slabs with a free object
  std::size_t taken_ SLAT_GUARDED_BY(mutex_) = 0;
  std::size_t slabs_ SLAT_GUARDED_BY(mutex_) = 0;
  std::size_t empty_slabs_ SLAT_GUARDED_BY(mutex_) = 0;
};

} // namespace slat::mmu
