// Magazines: each thread slot's own stock of free objects, in front of a depot that all threads
// share. After Bonwick and Adams, "Magazines and Vmem" (USENIX 2001).
//
// State: an object is in one place: out, in one magazine, or in the depot. A magazine is a lock
// word, a count and the objects, the newest last; only who holds the lock word touches the other two.
//   get    lock (acquire L'); empty: half a magazine from the depot; take the newest; unlock
//          (release L)
//   put    lock; full: the older half to the depot; add the object as the newest; unlock
//   flush  of each: lock, all to the depot, unlock
//   the lock word is held by another (a flush, or a thread of the shared slot): get and put go to
//   the depot itself, flush goes on without this magazine. Nobody waits for a lock word, so its
//   holder may take the depot's mutex.
// The lock word is needed for flush and for the shared slot; else it is the owner's cache line, and
// an exchange there costs some nanoseconds.
// Orderings. L pairs with L': who takes an object from the magazine sees all that its last user
// wrote before put(). Objects that go through the depot have the same from its mutex.
#pragma once

#include "mmu/atomics.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::mmu {

/// A Depot has `unsigned take(T** objects, unsigned most, bool grow)`, which gives fewer than `most`
/// as it likes, but none only if there are none and, where it may grow, memory is used up; and
/// `void give(T* const* objects, unsigned count)`. Any thread may call both at any time.
template <class A, class T, class Depot, unsigned Slots, unsigned Capacity> class Magazines {
 public:
  static_assert(Capacity >= 2 && Capacity % 2 == 0);

  explicit Magazines(Depot& depot) : depot_(depot) {}

  Magazines(const Magazines&) = delete;
  Magazines& operator=(const Magazines&) = delete;

  /// An object that nobody else has; nullptr if there is none, not even in other magazines, and
  /// memory is used up. `slot` is the calling thread's (thread_slot.hpp). Sleeps as the depot does.
  [[nodiscard]] T* get(unsigned slot) {
    T* object = nullptr;
    Magazine& magazine = magazines_[slot];
    if (magazine.try_lock()) [[likely]] {
      if (magazine.count.get() == 0) [[unlikely]]
        refill(magazine);
      if (const unsigned count = magazine.count.get(); count != 0) [[likely]] {
        object = magazine.objects[count - 1].get();
        magazine.count.set(count - 1);
      }
      magazine.unlock();
    } else {
      (void)depot_.take(&object, 1, true);
    }
    if (object == nullptr) [[unlikely]] {
      flush(); // others may have some
      (void)depot_.take(&object, 1, false);
    }
    return object;
  }

  /// `object` is from get() and no longer the caller's. Does not touch it. Sleeps as the depot does.
  void put(T* object, unsigned slot) {
    Magazine& magazine = magazines_[slot];
    if (!magazine.try_lock()) [[unlikely]]
      return depot_.give(&object, 1);
    if (magazine.count.get() == Capacity) [[unlikely]]
      spill(magazine);
    const unsigned count = magazine.count.get();
    magazine.objects[count].set(object);
    magazine.count.set(count + 1);
    magazine.unlock();
  }

  /// Gives all objects of all magazines to the depot, but for those of threads that are inside get()
  /// or put() at this moment. Any thread.
  void flush() {
    for (Magazine& magazine : magazines_) {
      if (!magazine.try_lock()) continue;
      T* objects[Capacity];
      const unsigned count = magazine.count.get();
      for (unsigned i = 0; i < count; ++i) objects[i] = magazine.objects[i].get();
      magazine.count.set(0);
      if (count != 0) depot_.give(objects, count);
      magazine.unlock();
    }
  }

  /// Objects in magazines; exact only when nothing moves.
  [[nodiscard]] std::size_t stock() {
    std::size_t sum = 0;
    for (Magazine& magazine : magazines_) {
      if (!magazine.try_lock()) continue;
      sum += magazine.count.get();
      magazine.unlock();
    }
    return sum;
  }

 private:
  template <class V> using var = typename A::template var<V>;

  struct alignas(64) Magazine {
    [[nodiscard]] bool try_lock() {
      return held.exchange(1, std::memory_order_acquire) == 0; // L'; pairs with L
    }

    void unlock() { held.store(0, std::memory_order_release); } // L; pairs with L'

    typename A::template atomic<std::uint32_t> held{0};
    var<unsigned> count{0};
    var<T*> objects[Capacity];
  };

  void refill(Magazine& magazine) {
    T* objects[Capacity / 2];
    const unsigned count = depot_.take(objects, Capacity / 2, true);
    for (unsigned i = 0; i < count; ++i) magazine.objects[i].set(objects[i]);
    magazine.count.set(count);
  }

  void spill(Magazine& magazine) {
    T* objects[Capacity / 2];
    for (unsigned i = 0; i < Capacity / 2; ++i) objects[i] = magazine.objects[i].get();
    for (unsigned i = Capacity / 2; i < Capacity; ++i)
      magazine.objects[i - Capacity / 2].set(magazine.objects[i].get());
    magazine.count.set(Capacity / 2);
    depot_.give(objects, Capacity / 2);
  }

  Depot& depot_;
  Magazine magazines_[Slots];
};

} // namespace slat::mmu
