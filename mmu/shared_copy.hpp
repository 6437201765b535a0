// Copies of bytes that a guest may be changing. A data race with a vCPU is no error of ours, so every access is atomic:
// whole words where the guest's side is aligned, bytes at the ends. No order between them: who needs one (a device that
// reads an index before a ring) takes it from a fence of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace slat::mmu {

namespace detail {

/// Calls `one(at, size)` for pieces of `shared`, of 8 bytes and aligned, or of 1.
template <class Piece> void each_piece(const std::byte* shared, std::size_t size, Piece one) {
  std::size_t at = 0;
  while (at < size) {
    const bool word = reinterpret_cast<std::uintptr_t>(shared + at) % sizeof(std::uint64_t) == 0 &&
                      size - at >= sizeof(std::uint64_t);
    const std::size_t piece = word ? sizeof(std::uint64_t) : 1;
    one(at, piece);
    at += piece;
  }
}

template <class T> std::atomic_ref<T> shared_cell(std::byte* at) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(at));
}

} // namespace detail

/// `shared` may be written meanwhile; `into` is the caller's.
inline void copy_from_shared(std::span<std::byte> into, std::byte* shared) {
  detail::each_piece(shared, into.size(), [&](std::size_t at, std::size_t piece) {
    if (piece == 1) { // relaxed, all of them: see above
      into[at] =
          std::byte(detail::shared_cell<std::uint8_t>(shared + at).load(std::memory_order_relaxed));
    } else {
      const auto word =
          detail::shared_cell<std::uint64_t>(shared + at).load(std::memory_order_relaxed);
      std::memcpy(into.data() + at, &word, sizeof word);
    }
  });
}

/// `shared` may be read and written meanwhile.
inline void copy_to_shared(std::byte* shared, std::span<const std::byte> from) {
  detail::each_piece(shared, from.size(), [&](std::size_t at, std::size_t piece) {
    if (piece == 1) { // relaxed, all of them: see above
      detail::shared_cell<std::uint8_t>(shared + at)
          .store(std::uint8_t(from[at]), std::memory_order_relaxed);
    } else {
      std::uint64_t word = 0;
      std::memcpy(&word, from.data() + at, sizeof word);
      detail::shared_cell<std::uint64_t>(shared + at).store(word, std::memory_order_relaxed);
    }
  });
}

} // namespace slat::mmu
