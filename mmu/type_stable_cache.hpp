// TypeStableCache<T>: objects that may be reused at once, but only as a T, until a grace period has
// passed (the kernel's SLAB_TYPESAFE_BY_RCU). DESIGN 6.
//
// A reader that holds a stale pointer inside an RCU section therefore always looks at some T, and
// finds out with T's own lock word whether it is still the one it wanted. So constructor state
// equals freed state and neither get() nor put() writes to the object (I04): free objects are
// chained by index in the slab's header.
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

template <class T> class TypeStableCache {
 public:
  static constexpr std::size_t slab_bytes = 16384;

  TypeStableCache() = default;

  /// Every object has been put back.
  ~TypeStableCache() {
    rcu::barrier(); // slabs on their way out
    MutexGuard guard(mutex_);
    SLAT_ASSERT(live_ == 0, "a type-stable cache is destroyed while objects are out");
    for (Slab* slab = partial_; slab != nullptr;) {
      Slab* const next = slab->next;
      destroy(slab);
      slab = next;
    }
  }

  TypeStableCache(const TypeStableCache&) = delete;
  TypeStableCache& operator=(const TypeStableCache&) = delete;

  /// An object in constructor state or as the last put() left it. nullptr when memory is used up.
  /// May sleep.
  [[nodiscard]] T* get() SLAT_EXCLUDES(mutex_) {
    MutexGuard guard(mutex_);
    if (partial_ == nullptr) {
      Slab* const slab = create();
      if (slab == nullptr) return nullptr;
      link(slab);
    }
    Slab* const slab = partial_;
    const std::uint16_t index = slab->free_head;
    slab->free_head = slab->free_next[index];
    if (slab->used++ == 0) --empty_slabs_;
    if (slab->used == capacity) unlink(slab);
    ++live_;
    return slab->object(index);
  }

  /// The object is dead to new readers (its lock word says so); old ones may still look at it. It
  /// may be handed out again at once. Does not sleep but for the inner mutex.
  void put(T* object) SLAT_EXCLUDES(mutex_) {
    Slab* const slab = Slab::of(object);
    MutexGuard guard(mutex_);
    const std::uint16_t index = slab->index_of(object);
    if (slab->used == capacity) link(slab);
    slab->free_next[index] = slab->free_head;
    slab->free_head = index;
    --live_;
    if (--slab->used != 0) return;
    if (++empty_slabs_ <= spare_slabs) return;
    --empty_slabs_;
    unlink(slab);
    --slabs_;
    rcu::call(slab->retire, [](DeferredCall* call) { destroy(reinterpret_cast<Slab*>(call)); });
  }

  struct Usage {
    std::size_t live;  // objects handed out
    std::size_t slabs; // slabs held, of slab_bytes each
  };

  [[nodiscard]] Usage usage() SLAT_EXCLUDES(mutex_) {
    MutexGuard guard(mutex_);
    return {live_, slabs_};
  }

  static constexpr std::size_t spare_slabs = 1; // empty slabs kept against a sawtooth

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

  [[nodiscard]] Slab* create() SLAT_REQUIRES(mutex_) {
    void* const memory = allocate(slab_bytes, slab_bytes);
    if (memory == nullptr) return nullptr;
    Slab* const slab = new (memory) Slab;
    for (std::size_t i = 0; i < capacity; ++i) {
      new (slab->storage + i * sizeof(T)) T;
      slab->free_next[i] = std::uint16_t(i + 1);
    }
    ++slabs_;
    ++empty_slabs_;
    return slab;
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
  std::size_t live_ SLAT_GUARDED_BY(mutex_) = 0;
  std::size_t slabs_ SLAT_GUARDED_BY(mutex_) = 0;
  std::size_t empty_slabs_ SLAT_GUARDED_BY(mutex_) = 0;
};

} // namespace slat::mmu
