// What the tests of stage-2 tables share.
#pragma once

#include "mmu/stage2/arm64_format.hpp"
#include "mmu/stage2/checker.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_dirty.hpp"
#include "mmu/stage2/stage2_reshape.hpp"
#include "mmu/stage2/stage2_zap.hpp"

#include "history_atomics.hpp"

#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <utility>
#include <vector>

namespace slat::mmu::stage2::testing {

using mmu::testing::HistoryAtomics;

inline constexpr std::uint64_t page = 4096;
inline constexpr std::uint64_t mib = std::uint64_t(1) << 20;
inline constexpr std::uint64_t gib = std::uint64_t(1) << 30;
inline constexpr std::uint64_t host_base = 64 * gib; // host address of guest-physical 0
inline constexpr Permissions rw{true, true, true};
inline constexpr Permissions ro{true, false, true};

struct FakeFlusher final : TlbFlusher {
  void flush_range(std::uintptr_t start, std::uintptr_t end) override {
    flushes.emplace_back(start, end);
    if (on_flush) on_flush();
  }

  /// Every byte of the range was flushed since the last clear().
  [[nodiscard]] bool covered(std::uint64_t start, std::uint64_t end) const {
    for (std::uint64_t at = start; at < end; at += page) {
      bool found = false;
      for (const auto& [from, to] : flushes) found = found || (from <= at && at < to);
      if (!found) return false;
    }
    return true;
  }

  std::vector<std::pair<std::uint64_t, std::uint64_t>> flushes;
  std::function<void()> on_flush;
};

/// A table and the sequence that its faults are checked by; host addresses lie host_base above.
template <class F, class A = HistoryAtomics> struct TableUnderTest {
  using Table = Stage2Table<F, A>;

  explicit TableUnderTest(Stage2Options options = {.limit = 4 * gib})
      : owner(std::move(*Table::create(options, flusher))), table(*owner) {}

  ~TableUnderTest() {
    HistoryAtomics::after_write = nullptr;
    HistoryAtomics::before_cas = nullptr;
    check();
  }

  TableCounts check() {
    auto counts = check_table(table);
    EXPECT_TRUE(counts) << (counts ? "" : counts.error().message);
    return counts ? *counts : TableCounts{};
  }

  static Stage2Fault fault(std::uint64_t at, bool write = false, unsigned level = 1,
                           Permissions allowed = rw) {
    return {.address = at,
            .host = host_base + (at & ~(page - 1)),
            .hva = at & ~(page - 1),
            .allowed = allowed,
            .write = write,
            .max_level = level};
  }

  MapOutcome map(std::uint64_t at, bool write = false, unsigned level = 1,
                 Permissions allowed = rw) {
    return table.map(fault(at, write, level, allowed), seq, seq.snapshot());
  }

  void map_pages(std::uint64_t from, unsigned count, Permissions allowed = rw) {
    for (unsigned i = 0; i < count; ++i)
      ASSERT_EQ(map(from + i * page, false, 1, allowed), MapOutcome::installed);
  }

  /// What an invalidator does.
  bool zap(std::uint64_t start, std::uint64_t end, Tables tables = Tables::keep) {
    seq.begin(start, end);
    const bool any = table.zap_range(start, end, tables);
    seq.end(start, end);
    return any;
  }

  /// The host address of a guest-physical one, or 0.
  [[nodiscard]] std::uint64_t host(std::uint64_t at) const {
    const auto found = table.translate(at);
    return found ? found->host : 0;
  }

  [[nodiscard]] unsigned level(std::uint64_t at) const {
    const auto found = table.translate(at);
    return found ? found->level : 0;
  }

  CollapseOutcome collapse(std::uint64_t at, unsigned level = 2) {
    return table.collapse(at, at, level, seq);
  }

  std::vector<std::uint64_t> dirty(std::uint64_t start, std::uint64_t end) {
    std::vector<std::uint64_t> bits((end - start) / page / 64);
    table.read_dirty(start, end, bits);
    std::vector<std::uint64_t> pages;
    for (std::size_t i = 0; i < bits.size() * 64; ++i)
      if ((bits[i / 64] >> (i % 64) & 1) != 0) pages.push_back(start / page + i);
    return pages;
  }

  FakeFlusher flusher;
  InvalidateSeq seq;
  std::unique_ptr<Table> owner;
  Table& table;
};

template <class F> std::string format_name() {
  return std::is_same_v<F, EptFormat> ? "Ept" : "Arm64";
}

struct FormatNames {
  template <class F> static std::string GetName(int) { return format_name<F>(); }
};

using Formats = ::testing::Types<EptFormat, Arm64Format>;

} // namespace slat::mmu::stage2::testing
