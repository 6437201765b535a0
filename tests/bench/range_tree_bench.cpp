// What RangeTree costs. Lookups of random addresses, prepared beforehand; "dependent" ones cannot
// start before the one before has ended. Trees are built by ascending and by random inserts, one
// commit each: the argument says how many entries, the label what became of them.
#include "mmu/range_tree.hpp"
#include "mmu/rcu.hpp"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <bit>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace {

using namespace slat::mmu;

struct Item {
  std::uintptr_t start;
};

using Tree = RangeTree<Item>;

constexpr std::uintptr_t range_length = 0x10000;
constexpr std::uintptr_t range_distance = 0x14000; // a gap after each

/// An order of insertion.
enum class Order { ascending, random };

struct Ranges {
  Ranges(std::size_t count, Order order) : items(count) {
    std::mt19937_64 random(count);
    std::vector<std::size_t> sequence(count);
    for (std::size_t i = 0; i < count; ++i) sequence[i] = i;
    if (order == Order::random) std::shuffle(sequence.begin(), sequence.end(), random);
    for (const std::size_t i : sequence) {
      items[i].start = 0x7000'0000'0000 + i * range_distance;
      set(i);
    }
    for (std::uint32_t& key : keys) key = std::uint32_t(random() % count);
  }

  /// Replaces entry `i`, or inserts it.
  void set(std::size_t i) {
    const Tree::Entry entry = {items[i].start, items[i].start + range_length, &items[i]};
    auto edit = tree.edit();
    (void)edit.replace(entry.start, entry.end, {&entry, 1});
    edit.commit();
  }

  [[nodiscard]] std::uintptr_t address(std::size_t n) const {
    return 0x7000'0000'0000 + keys[n % keys.size()] * range_distance + n % range_length;
  }

  [[nodiscard]] std::string label() const {
    const auto shape = tree.base().shape();
    return fmt::format("{} levels, {:.1f} per leaf, {} KiB", shape.levels,
                       double(items.size()) / double(shape.leaves), shape.bytes / 1024);
  }

  Tree tree;
  std::vector<Item> items;
  std::vector<std::uint32_t> keys = std::vector<std::uint32_t>(1u << 16);
};

/// Built once for all benchmarks and runs.
Ranges& ranges_of(const benchmark::State& state, Order order) {
  static std::map<std::pair<std::int64_t, Order>, std::unique_ptr<Ranges>> built;
  auto& ranges = built[{state.range(0), order}];
  if (!ranges) ranges = std::make_unique<Ranges>(std::size_t(state.range(0)), order);
  return *ranges;
}

void sizes(benchmark::internal::Benchmark* bench) {
  for (const int count : {16, 1000, 10'000, 100'000}) bench->Arg(count);
}

void range_tree_find(benchmark::State& state, Order order) {
  const Ranges& ranges = ranges_of(state, order);
  std::size_t n = 0;
  for (auto _ : state) {
    const rcu::ReadGuard section;
    benchmark::DoNotOptimize(ranges.tree.find(ranges.address(n++)));
  }
  state.SetLabel(ranges.label());
}

BENCHMARK_CAPTURE(range_tree_find, ascending, Order::ascending)->Apply(sizes);
BENCHMARK_CAPTURE(range_tree_find, random, Order::random)->Apply(sizes);

void range_tree_find_dependent(benchmark::State& state, Order order) {
  const Ranges& ranges = ranges_of(state, order);
  std::size_t n = 0;
  for (auto _ : state) {
    const rcu::ReadGuard section;
    const Item* const item = ranges.tree.find(ranges.address(n));
    n += 1 + (std::bit_cast<std::uintptr_t>(item) >> 63); // 0, but only the lookup tells
  }
  state.SetLabel(ranges.label());
}

BENCHMARK_CAPTURE(range_tree_find_dependent, ascending, Order::ascending)->Apply(sizes);
BENCHMARK_CAPTURE(range_tree_find_dependent, random, Order::random)->Apply(sizes);

/// Replaces one entry and commits. Grace periods and frees run on another thread and count when
/// they get in the way.
void range_tree_replace(benchmark::State& state) {
  Ranges& ranges = ranges_of(state, Order::random);
  std::size_t n = 0;
  for (auto _ : state) ranges.set(ranges.keys[n++ % ranges.keys.size()]);
}

BENCHMARK(range_tree_replace)->Apply(sizes);

void range_tree_find_gap(benchmark::State& state) {
  Ranges& ranges = ranges_of(state, Order::random);
  std::size_t n = 0;
  for (auto _ : state)
    benchmark::DoNotOptimize(
        ranges.tree.find_gap(ranges.address(n++), UINTPTR_MAX, range_length, 0x1000));
}

BENCHMARK(range_tree_find_gap)->Apply(sizes);

} // namespace
