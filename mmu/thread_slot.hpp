// A number for the calling thread, so that per-thread state is an array. The first
// `exclusive_thread_slots` live threads have one each to themselves, all others share the last; a
// number goes to another thread when its owner exits.
//
// State: a bit per exclusive number, set while a thread owns it.
//   claim      sets the lowest clear bit (acquire H'); none: the shared number
//   give back  clears the bit (release H), at thread exit
// The words of an exclusive slot are written by its owner only, so the owner adds with a load and a
// store. H pairs with H': the next owner goes on from the values that the last one left. (Relaxed,
// it could load an older value, and its store would undo additions.) Between the two the word is
// changed by read-modify-writes only, so an acquire that reads a later one of them still pairs.
#pragma once

#include "mmu/atomics.hpp"

#include <bit>
#include <cstdint>

namespace slat::mmu {

template <class A, unsigned Exclusive> class SlotPool {
 public:
  static_assert(Exclusive > 0 && Exclusive < 64);
  static constexpr unsigned shared = Exclusive; // the number of those that found none

  constexpr SlotPool() = default;

  /// A number below Exclusive that nobody else has until give_back(), or `shared`. Does not sleep.
  [[nodiscard]] unsigned claim() {
    std::uint64_t taken = taken_.load(std::memory_order_relaxed); // only a guess for the CAS
    while (~taken != 0) {
      const auto slot = unsigned(std::countr_one(taken));
      if (taken_.compare_exchange_weak(taken, taken | std::uint64_t(1) << slot,
                                       std::memory_order_acquire, // H'; pairs with H
                                       std::memory_order_relaxed))
        return slot;
    }
    return shared;
  }

  /// `slot` is from claim() and not the shared one. Its words are no longer the caller's.
  void give_back(unsigned slot) {
    taken_.fetch_and(~(std::uint64_t(1) << slot), std::memory_order_release); // H; pairs with H'
  }

 private:
  typename A::template atomic<std::uint64_t> taken_{~std::uint64_t(0) << Exclusive};
};

/// Adds to a word of the caller's slot; `shared` if that is the shared one. Not for signal handlers:
/// one that adds between the load and the store is forgotten.
template <class Word, class T>
inline void add_in_slot(Word& word, T amount, bool shared, std::memory_order order) {
  if (shared) [[unlikely]]
    word.fetch_add(amount, order); // its other threads add as well
  else
    word.store(word.load(std::memory_order_relaxed) + amount, order); // the owner's own last value
}

inline constexpr unsigned exclusive_thread_slots = 63;
inline constexpr unsigned shared_thread_slot = exclusive_thread_slots;
inline constexpr unsigned thread_slots = exclusive_thread_slots + 1; // the size of such an array

namespace detail {
inline constexpr unsigned no_thread_slot = ~0u;
inline constinit thread_local unsigned this_thread_slot = no_thread_slot;
unsigned claim_thread_slot();
} // namespace detail

/// The calling thread's number, below thread_slots. Constant until the thread's own thread_locals
/// are destroyed, and the shared one from then on. A thread that finds all numbers taken shares for
/// life.
[[nodiscard]] inline unsigned thread_slot() {
  const unsigned slot = detail::this_thread_slot;
  if (slot < exclusive_thread_slots) [[likely]]
    return slot;
  return detail::claim_thread_slot();
}

} // namespace slat::mmu
