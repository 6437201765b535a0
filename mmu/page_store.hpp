// PageStore: where the content of reclaimed pages is kept. AddressSpace::reclaim() puts pages in, the fault
// path takes them out again. A slot has one owner: the page word that names it (PageBits::slot()), from
// put() to drop().
//
// Any number of threads. None of the calls touches guest memory, address spaces or page words.
#pragma once

#include "mmu/host.hpp"
#include "mmu/page_source.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace slat::mmu {

using PageBytes = std::span<const std::byte, page_size>;
using PageRoom = std::span<std::byte, page_size>;

class PageStore {
 public:
  virtual ~PageStore() = default;

  /// Keeps a copy of the page; its slot. Empty: the store is full, or out of memory. Called with page locks
  /// held, so it waits for nothing but the store's own short locks and the host's allocator. Must not throw.
  [[nodiscard]] virtual std::optional<std::uint32_t> put(PageBytes page) = 0;

  /// Writes what was put; the slot stays. `failed`: it cannot be had, or is not what was put (I41), and then
  /// what is in `into` means nothing. May sleep: the caller has claimed the page (state filling) and holds no
  /// page, VMA or mm lock. Must not throw.
  [[nodiscard]] virtual FillResult load(std::uint32_t slot, PageRoom into) = 0;

  /// The slot is free. Once for each put(). Called with page, VMA and mm locks held: as put().
  virtual void drop(std::uint32_t slot) = 0;
};

} // namespace slat::mmu
