// Loads, stores and read-modify-writes of guest memory by host address, as x86 orders them: a load is an acquire, a
// store a release, a locked operation sequentially consistent. Aligned ones by std::atomic_ref,
// because other vCPUs access the same bytes. The bytes of an access lie in one page.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace slat::vmm::softcpu {

namespace detail {

inline std::atomic_ref<std::uint64_t> word_at(std::byte* aligned) {
  return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(aligned));
}

template <class T> bool is_aligned(const std::byte* at) {
  return reinterpret_cast<std::uintptr_t>(at) % sizeof(T) == 0;
}

// An unaligned access by one instruction of the host's, for which std::atomic_ref is not made: x86 gives it in one piece
// where it lies in one cache line, which is what it promises the guest.

template <class T> T load_unaligned(const std::byte* at) {
  T value;
  asm volatile("mov %1, %0"
               : "=r"(value)
               : "m"(*reinterpret_cast<const std::byte(*)[sizeof(T)]>(at))
               : "memory");
  return value;
}

template <class T> void store_unaligned(std::byte* at, T value) {
  asm volatile("mov %1, %0"
               : "=m"(*reinterpret_cast<std::byte(*)[sizeof(T)]>(at))
               : "r"(value)
               : "memory");
}

} // namespace detail

template <std::unsigned_integral T> T load_host(std::byte* at) {
  // Acquire, here and below, pairs with the release of store_host and with locked operations of other vCPUs.
  if (detail::is_aligned<T>(at)) [[likely]]
    return std::atomic_ref<T>(*reinterpret_cast<T*>(at)).load(std::memory_order_acquire);
  return detail::load_unaligned<T>(at);
}

template <std::unsigned_integral T> void store_host(std::byte* at, T value) {
  // Release pairs with the acquire of load_host.
  if (detail::is_aligned<T>(at)) [[likely]] {
    std::atomic_ref<T>(*reinterpret_cast<T*>(at)).store(value, std::memory_order_release);
    return;
  }
  detail::store_unaligned(at, value);
}

/// Whether rmw_host can: not where a locked access crosses an aligned word (a "split lock").
template <std::unsigned_integral T> bool can_lock(const std::byte* at) {
  return reinterpret_cast<std::uintptr_t>(at) % 8 + sizeof(T) <= 8;
}

/// Replaces the value by f(value) atomically and returns the old one. f may run several times.
template <std::unsigned_integral T, class F> T rmw_host(std::byte* at, F f) {
  // seq_cst: a locked instruction is a full barrier; pairs with all accesses of other vCPUs.
  if (detail::is_aligned<T>(at)) [[likely]] {
    std::atomic_ref<T> cell(*reinterpret_cast<T*>(at));
    T old = cell.load(std::memory_order_relaxed); // the exchange checks it
    while (!cell.compare_exchange_weak(old, f(old), std::memory_order_seq_cst,
                                       std::memory_order_relaxed)) {
    }
    return old;
  }
  const auto offset = reinterpret_cast<std::uintptr_t>(at) % 8;
  const auto cell = detail::word_at(at - offset);
  std::uint64_t word = cell.load(std::memory_order_relaxed);
  for (;;) {
    const T old = static_cast<T>(word >> 8 * offset);
    const std::uint64_t mask = std::uint64_t{static_cast<T>(~T{0})} << 8 * offset;
    const std::uint64_t wanted = (word & ~mask) | std::uint64_t{f(old)} << 8 * offset;
    if (cell.compare_exchange_weak(word, wanted, std::memory_order_seq_cst,
                                   std::memory_order_relaxed))
      return old;
  }
}

__extension__ using Word128 = unsigned __int128;

} // namespace slat::vmm::softcpu
