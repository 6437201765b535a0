// A stage-2 table for tests of what looks at one.
#pragma once

#include "../mmu/stage2_support.hpp"
#include "mmu/stage2/stage2_visit.hpp"

namespace slat::vmm {

using mmu::stage2::EptFormat;
using mmu::stage2::MapOutcome;
using mmu::stage2::Permissions;
using mmu::stage2::Stage2Options;

/// Nothing caches translations, so threads may take them away without an account.
struct NoTlb final : mmu::TlbFlusher {
  void flush_range(std::uintptr_t, std::uintptr_t) override {}
};

struct Stage2Fixture {
  using Table = mmu::stage2::Stage2Table<EptFormat>;
  static constexpr std::uint64_t host_base = mmu::stage2::testing::host_base;

  explicit Stage2Fixture(Stage2Options options = {.limit = std::uint64_t(8) << 30})
      : table(std::move(*Table::create(options, tlb))) {}

  /// A leaf of `level` at host_base + `offset` above `at`; `write`: accessed for writing, too.
  void map(std::uint64_t at, unsigned level = 1, Permissions allowed = {true, true, true},
           bool write = false, std::uint64_t offset = 0) {
    const auto outcome = table->map({.address = at,
                                     .host = host_base + offset + at,
                                     .hva = at,
                                     .allowed = allowed,
                                     .max_level = level},
                                    sequence, sequence.snapshot());
    ASSERT_EQ(outcome, MapOutcome::installed);
    if (write) ASSERT_TRUE(table->access(at, true));
  }

  void zap(std::uint64_t start, std::uint64_t end) {
    sequence.begin(start, end);
    table->zap_range(start, end, mmu::stage2::Tables::free);
    sequence.end(start, end);
  }

  NoTlb tlb;
  mmu::InvalidateSeq sequence;
  std::unique_ptr<Table> table;
};

} // namespace slat::vmm
