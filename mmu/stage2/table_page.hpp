// A table page: entries and nothing else, for hardware reads it. Its life is in table_pool.hpp.
#pragma once

#include "mmu/stage2/entry.hpp"

#include <cstdint>

namespace slat::mmu::stage2 {

template <class F, class A> struct TablePage {
  using Entry = typename A::template atomic<std::uint64_t>;
  Entry entries[F::fan_out];
};

template <class F, class A> [[nodiscard]] TablePage<F, A>* page_of(std::uint64_t table_entry) {
  return reinterpret_cast<TablePage<F, A>*>(F::address(table_entry));
}

template <class F, class A> [[nodiscard]] std::uint64_t address_of(const TablePage<F, A>& page) {
  return reinterpret_cast<std::uint64_t>(&page);
}

} // namespace slat::mmu::stage2
