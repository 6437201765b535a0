// An address space of the design that SLAT_TEST_VMA_LOCK names, as in the tests of mmu/.
#pragma once

#include "mmu/address_space.hpp"

#include <cstdlib>
#include <fmt/format.h>

namespace slat::torture {

inline std::unique_ptr<mmu::AddressSpace> make_mm(mmu::Counters& counters) {
  mmu::AddressSpaceOptions options;
  if (const char* const name = std::getenv("SLAT_TEST_VMA_LOCK"); name != nullptr) {
    const auto design = mmu::vma_lock_design(name);
    if (!design) {
      fmt::print(stderr, "SLAT_TEST_VMA_LOCK={}: no such design\n", name);
      std::exit(2);
    }
    options.vma_lock = *design;
  }
  auto mm = mmu::AddressSpace::create(options, counters);
  if (!mm) {
    fmt::print(stderr, "{}\n", mm.error().message);
    std::exit(2);
  }
  return std::move(*mm);
}

} // namespace slat::torture
