// What a stage-2 fault costs where the page is present already, and what accesses, zaps, splits and
// collapses cost.
#include "mmu/address_space.hpp"
#include "mmu/fault.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_mmu.hpp"
#include "mmu/stage2/stage2_reshape.hpp"
#include "mmu/stage2/stage2_zap.hpp"
#include "mmu/zero_source.hpp"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace slat::mmu;
using stage2::EptFormat;
using stage2::Tables;
using Table = Stage2Table<EptFormat>;

constexpr std::uint64_t mib = std::uint64_t(1) << 20;
constexpr std::uint64_t pages = 4096;
constexpr std::uint64_t bytes = pages * page_size;
constexpr std::uint64_t host_base = std::uint64_t(1) << 40;

struct NoTlb final : TlbFlusher {
  void flush_range(std::uintptr_t, std::uintptr_t) override {}
};

struct Stage2 {
  Stage2() : table(std::move(*Table::create({.limit = bytes}, flusher))) {
    std::mt19937 random(1);
    for (std::uint64_t n = 0; n < pages; ++n) order.push_back(n);
    std::shuffle(order.begin(), order.end(), random);
  }

  MapOutcome map(std::uint64_t n, unsigned level = 1) {
    return table->map({.address = n * page_size,
                       .host = host_base + n * page_size,
                       .hva = n * page_size,
                       .allowed = {true, true, true},
                       .write = true,
                       .max_level = level},
                      seq, seq.snapshot());
  }

  NoTlb flusher;
  InvalidateSeq seq;
  std::unique_ptr<Table> table;
  std::vector<std::uint64_t> order; // every page once
};

/// The second half of a fault: the page is resolved. In random order; the tables are there.
void stage2_map(benchmark::State& state) {
  Stage2 s;
  for (const std::uint64_t n : s.order) (void)s.map(n);
  s.table->zap_range(0, bytes);
  std::size_t next = 0;
  for (auto _ : state) {
    if (next == pages) {
      state.PauseTiming();
      s.table->zap_range(0, bytes);
      next = 0;
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(s.map(s.order[next++]));
  }
}

BENCHMARK(stage2_map);

/// Somebody was there first.
void stage2_map_present(benchmark::State& state) {
  Stage2 s;
  for (const std::uint64_t n : s.order) (void)s.map(n);
  std::size_t next = 0;
  for (auto _ : state) benchmark::DoNotOptimize(s.map(s.order[next++ % pages]));
}

BENCHMARK(stage2_map_present);

/// What hardware would do at a TLB miss.
void stage2_access(benchmark::State& state) {
  Stage2 s;
  for (const std::uint64_t n : s.order) (void)s.map(n);
  std::size_t next = 0;
  for (auto _ : state)
    benchmark::DoNotOptimize(s.table->access(s.order[next++ % pages] * page_size, true));
}

BENCHMARK(stage2_access);

/// Of 512 pages; an item is a page.
void stage2_zap(benchmark::State& state) {
  Stage2 s;
  for (auto _ : state) {
    state.PauseTiming();
    for (std::uint64_t n = 0; n < 512; ++n) (void)s.map(n);
    state.ResumeTiming();
    s.table->zap_range(0, 2 * mib);
  }
  state.SetItemsProcessed(state.iterations() * 512);
}

BENCHMARK(stage2_zap);

void stage2_split_and_collapse(benchmark::State& state) {
  Stage2 s;
  (void)s.map(0, 2);
  for (auto _ : state) {
    if (!s.table->split_range(0, 2 * mib)) state.SkipWithError("no memory");
    if (s.table->collapse(0, 0, 2, s.seq) != stage2::CollapseOutcome::collapsed)
      state.SkipWithError("not collapsed");
  }
}

BENCHMARK(stage2_split_and_collapse);

/// All of a fault on a page that is present in the host: lookup of the VMA, page word, install into
/// the table. Each round takes all pages out of the table, untimed, then times one pass over them;
/// the label has the median of single faults, with the cost of two clock readings taken off.
void stage2_fault_present(benchmark::State& state) {
  Counters counters;
  const BackingRef backing(*Backing::create("bench-stage2", bytes, std::make_unique<ZeroSource>()));
  const std::unique_ptr<AddressSpace> mm(*AddressSpace::create({}, counters));
  const auto mapped = mm->map({.length = bytes, .backing = backing.get()});
  Stage2 s;
  stage2::Stage2Mmu<EptFormat> mmu(*s.table, mm->notifiers().sequence(),
                                   {{0, *mapped, *mapped + bytes}});
  const auto fault = [&](std::uint64_t n) {
    return handle_mm_fault(
        *mm, {.address = *mapped + n * page_size, .access = vm_read | vm_write, .mmu = &mmu});
  };
  for (const std::uint64_t n : s.order) (void)fault(n);
  using Clock = std::chrono::steady_clock;
  std::vector<std::int64_t> single;
  std::vector<std::int64_t> nothing;
  s.table->zap_range(0, bytes);
  std::size_t next = 0;
  for (auto _ : state) {
    if (next == pages) {
      state.PauseTiming();
      s.table->zap_range(0, bytes);
      next = 0;
      state.ResumeTiming();
    }
    benchmark::DoNotOptimize(fault(s.order[next++]));
  }
  s.table->zap_range(0, bytes);
  for (const std::uint64_t n : s.order) {
    const auto start = Clock::now();
    benchmark::DoNotOptimize(fault(n));
    const auto end = Clock::now();
    single.push_back((end - start).count());
    nothing.push_back((Clock::now() - end).count());
  }
  const auto median = [](std::vector<std::int64_t>& values) {
    std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
  };
  state.SetLabel("median " + std::to_string(median(single) - median(nothing)) + " ns");
}

BENCHMARK(stage2_fault_present);

} // namespace
