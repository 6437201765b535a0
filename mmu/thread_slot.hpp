// A small number for the calling thread, to spread per-thread state over cache lines. Two threads
// may share one.
#pragma once

#include <atomic>

namespace slat::mmu {

inline constexpr unsigned thread_slots = 32;

namespace detail {
inline std::atomic<unsigned> next_thread_slot{0};
} // namespace detail

[[nodiscard]] inline unsigned thread_slot() {
  // Relaxed: only the numbers matter.
  static thread_local const unsigned slot =
      detail::next_thread_slot.fetch_add(1, std::memory_order_relaxed) % thread_slots;
  return slot;
}

} // namespace slat::mmu
