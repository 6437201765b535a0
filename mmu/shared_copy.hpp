// Copies of bytes that a guest may be changing. A data race with a vCPU is no error of ours, so every access is atomic,
// and of the largest size that the guest's side is aligned for: an aligned value of 1, 2, 4 or 8 bytes is never torn. No order between them: who needs one (a device that
// reads an index before a ring) takes it from a fence of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace slat::mmu {

namespace detail {

template <class T> std::atomic_ref<T> shared_cell(std::byte* at) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(at));
}

template <class T> [[nodiscard]] bool fits(const std::byte* shared, std::size_t rest) {
  return rest >= sizeof(T) && reinterpret_cast<std::uintptr_t>(shared) % sizeof(T) == 0;
}

/// Calls `one.operator()<T>(at)` for pieces of `shared`, each an aligned T.
template <class Piece> void each_piece(const std::byte* shared, std::size_t size, Piece one) {
  for (std::size_t at = 0; at < size;) {
    const std::size_t rest = size - at;
    if (fits<std::uint64_t>(shared + at, rest))
      at += one.template operator()<std::uint64_t>(at);
    else if (fits<std::uint32_t>(shared + at, rest))
      at += one.template operator()<std::uint32_t>(at);
    else if (fits<std::uint16_t>(shared + at, rest))
      at += one.template operator()<std::uint16_t>(at);
    else
      at += one.template operator()<std::uint8_t>(at);
  }
}

} // namespace detail

/// `shared` may be written meanwhile; `into` is the caller's.
inline void copy_from_shared(std::span<std::byte> into, std::byte* shared) {
  detail::each_piece(shared, into.size(), [&]<class T>(std::size_t at) {
    const T value =
        detail::shared_cell<T>(shared + at).load(std::memory_order_relaxed); // see above
    std::memcpy(into.data() + at, &value, sizeof value);
    return sizeof value;
  });
}

/// `shared` may be read and written meanwhile.
inline void copy_to_shared(std::byte* shared, std::span<const std::byte> from) {
  detail::each_piece(shared, from.size(), [&]<class T>(std::size_t at) {
    T value{};
    std::memcpy(&value, from.data() + at, sizeof value);
    detail::shared_cell<T>(shared + at).store(value, std::memory_order_relaxed); // see above
    return sizeof value;
  });
}

} // namespace slat::mmu
