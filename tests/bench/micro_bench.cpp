// What the hot paths of mmu/ cost, one thread and several. slat_micro_bench --benchmark_filter=... --benchmark_repetitions=9
#include "mmu/address_space.hpp"
#include "mmu/address_space_of.hpp"
#include "mmu/rcu.hpp"
#include "mmu/srcu.hpp"
#include "mmu/translation_cache.hpp"
#include "mmu/vma_lock/all_designs.hpp"
#include "mmu/zero_source.hpp"

#include <benchmark/benchmark.h>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace slat::mmu;
using Vma = PerVmaRefcount::Vma;
using VmaCache = TypeStableCache<Vma>;

void rcu_section(benchmark::State& state) {
  for (auto _ : state) {
    const rcu::ReadGuard section;
    benchmark::ClobberMemory();
  }
}

BENCHMARK(rcu_section);

void srcu_section(benchmark::State& state) {
  static Srcu srcu;
  for (auto _ : state) {
    const Srcu::ReadGuard section(srcu);
    benchmark::ClobberMemory();
  }
}

BENCHMARK(srcu_section)->ThreadRange(1, 2);

/// Without readers: what the fences and the sums cost.
void srcu_synchronize(benchmark::State& state) {
  static Srcu srcu;
  for (auto _ : state) srcu.synchronize();
}

BENCHMARK(srcu_synchronize);

void deferred_call(benchmark::State& state) {
  static Reclaimer reclaimer([] {});
  std::vector<DeferredCall> calls(10000);
  std::size_t next = 0;
  for (auto _ : state) {
    if (next == calls.size()) {
      state.PauseTiming();
      reclaimer.barrier();
      next = 0;
      state.ResumeTiming();
    }
    reclaimer.call(calls[next++], [](DeferredCall*) {});
  }
  reclaimer.barrier();
}

BENCHMARK(deferred_call);

void cache_get_put(benchmark::State& state) {
  static VmaCache cache;
  for (auto _ : state) {
    Vma* const vma = cache.get();
    benchmark::DoNotOptimize(vma);
    cache.put(vma);
  }
}

BENCHMARK(cache_get_put)->ThreadRange(1, 2);

/// More than a magazine holds, so the depot is asked all the time; one get and one put are an item.
void cache_get_put_of_100(benchmark::State& state) {
  static VmaCache cache;
  std::vector<Vma*> vmas(100);
  for (auto _ : state) {
    for (Vma*& vma : vmas) vma = cache.get();
    for (Vma* vma : vmas) cache.put(vma);
  }
  state.SetItemsProcessed(state.iterations() * std::int64_t(vmas.size()));
}

BENCHMARK(cache_get_put_of_100)->ThreadRange(1, 2);

/// A snapshot and a check, without the fence between, with so many ranges in progress elsewhere.
void staleness_check(benchmark::State& state) {
  InvalidateSeq seq;
  for (std::int64_t i = 0; i < state.range(0); ++i)
    seq.begin(std::uint64_t(i) << 20, (std::uint64_t(i) << 20) + 4096);
  for (auto _ : state) {
    const std::uint64_t snapshot = seq.snapshot();
    benchmark::DoNotOptimize(seq.stale(snapshot, std::uint64_t(1) << 40, std::uint64_t(1) << 41));
  }
}

BENCHMARK(staleness_check)->Arg(0)->Arg(1)->Arg(8)->Arg(9);

void range_begin_end(benchmark::State& state) {
  InvalidateSeq seq;
  for (auto _ : state) {
    seq.begin(0, 4096);
    seq.end(0, 4096);
  }
}

BENCHMARK(range_begin_end);

void page_lock_unlock(benchmark::State& state) {
  PageWord word;
  PageState was{};
  (void)word.claim_fill(was);
  word.finish_fill(PageState::present);
  for (auto _ : state) {
    benchmark::DoNotOptimize(word.try_lock_present());
    word.unlock();
  }
}

BENCHMARK(page_lock_unlock);

void counter_add(benchmark::State& state) {
  static Counters counters;
  for (auto _ : state) counters.add(Counter::fault_count);
}

BENCHMARK(counter_add)->ThreadRange(1, 2);

/// Installs without a system call, so that what is measured is the path to it.
class NullMmu final : public SecondaryMmu {
 public:
  InstallResult install(const InstallRequest& run) override {
    return {InstallStatus::installed, run.pages};
  }
};

/// An address space of `vmas` one-page mappings that do not merge, all present.
struct Space {
  Space(VmaLockDesign design, std::size_t vmas)
      : owner(*AddressSpace::create(
            {.vma_lock = design, .vma_limit = ~std::size_t(0) >> 1, .window = 4 * vmas * page_size},
            counters)),
        mm(*owner) {
    backing.reset(*Backing::create("bench", 2 * vmas * page_size, std::make_unique<ZeroSource>()));
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i < vmas; ++i) {
      const std::uintptr_t address =
          *mm.map({.length = page_size, .backing = backing.get(), .pgoff = 2 * i});
      addresses.push_back(address);
      (void)handle_mm_fault(mm, {.address = address, .access = vm_write});
    }
    for (std::size_t i = 0; i < 4096; ++i) keys.push_back(addresses[random() % vmas]);
  }

  Counters counters;
  BackingRef backing;
  std::unique_ptr<AddressSpace> owner;
  AddressSpace& mm;
  std::vector<std::uintptr_t> addresses;
  std::vector<std::uintptr_t> keys; // uniformly random
};

/// Arguments: the design, the number of VMAs.
Space& shared_space(const benchmark::State& state) {
  static std::mutex mutex;
  static std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<Space>> spaces;
  const std::lock_guard guard(mutex);
  std::unique_ptr<Space>& space = spaces[{state.range(0), state.range(1)}];
  if (!space)
    space = std::make_unique<Space>(VmaLockDesign(state.range(0)), std::size_t(state.range(1)));
  return *space;
}

void every_design(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"design", "vmas"});
  for (const VmaLockDesign design : all_vma_lock_designs)
    for (const std::int64_t vmas : {16, 1000, 10000}) benchmark->Args({std::int64_t(design), vmas});
  benchmark->ThreadRange(1, 2);
}

/// If the space is of this design.
template <class D> void lock_vmas(benchmark::State& state, Space& space) {
  auto* const mm = dynamic_cast<AddressSpaceOf<D>*>(&space.mm);
  if (mm == nullptr) return;
  const Srcu::ReadGuard section(space.mm.fault_srcu());
  std::size_t i = std::size_t(state.thread_index()) * 7;
  for (auto _ : state) {
    const VmaTicket ticket = mm->design().begin(space.keys[i++ % space.keys.size()]);
    mm->design().end(ticket);
  }
}

/// Lookup, read lock and unlock, as the fault path has them.
void lock_vma_under_rcu(benchmark::State& state) {
  Space& space = shared_space(state);
#define SLAT_LOCK(Design) lock_vmas<Design>(state, space);
  SLAT_FOR_EACH_DESIGN(SLAT_LOCK)
#undef SLAT_LOCK
  state.SetLabel(std::string(to_string(space.mm.vma_lock())));
}

BENCHMARK(lock_vma_under_rcu)->Apply(every_design);

void fault_on_a_present_page(benchmark::State& state) {
  Space& space = shared_space(state);
  NullMmu mmu;
  std::size_t i = std::size_t(state.thread_index()) * 7;
  for (auto _ : state)
    benchmark::DoNotOptimize(
        handle_mm_fault(space.mm, {.address = space.keys[i++ % space.keys.size()], .mmu = &mmu}));
  state.SetLabel(std::string(to_string(space.mm.vma_lock())));
}

BENCHMARK(fault_on_a_present_page)->Apply(every_design);

/// The cache of the space of these arguments, registered with it.
TranslationCache& shared_cache(const benchmark::State& state) {
  static std::mutex mutex;
  // Never destroyed: the spaces, which are, end their notifications to it.
  static auto& caches = *new std::map<Space*, std::unique_ptr<TranslationCache>>;
  Space& space = shared_space(state);
  const std::lock_guard guard(mutex);
  std::unique_ptr<TranslationCache>& cache = caches[&space];
  if (!cache) {
    cache = std::make_unique<TranslationCache>(space.mm);
    (void)space.mm.notifiers().register_notifier(*cache);
  }
  return *cache;
}

void pin_with_a_cached_translation(benchmark::State& state) {
  Space& space = shared_space(state);
  TranslationCache& cache = shared_cache(state);
  const std::uintptr_t address =
      space.addresses[std::size_t(state.thread_index()) * 100]; // page words of their own lines
  for (auto _ : state) benchmark::DoNotOptimize(cache.pin(address, 64, vm_write)->bytes().data());
  state.SetLabel(std::string(to_string(space.mm.vma_lock())));
}

BENCHMARK(pin_with_a_cached_translation)
    ->ArgNames({"design", "vmas"})
    ->ArgsProduct({{0, 1, 2, 3}, {1000}})
    ->ThreadRange(1, 2);

/// What a range costs while nothing is pinned, with a translation cache registered.
void start_and_end_of_a_range(benchmark::State& state) {
  Space& space = shared_space(state);
  (void)shared_cache(state);
  for (auto _ : state)
    benchmark::DoNotOptimize(space.mm.notifiers().invalidate_range_start(
        {space.addresses[0], space.addresses[0] + page_size, InvalidateEvent::zap}));
}

BENCHMARK(start_and_end_of_a_range)
    ->ArgNames({"design", "vmas"})
    ->Args({std::int64_t(VmaLockDesign::vma_refcount), 1000});

void zap_of_one_page(benchmark::State& state) {
  Space& space = shared_space(state);
  for (auto _ : state)
    benchmark::DoNotOptimize(space.mm.advise(space.addresses[0], page_size, Advice::dontneed));
  state.SetLabel(std::string(to_string(space.mm.vma_lock())));
}

BENCHMARK(zap_of_one_page)->ArgNames({"design", "vmas"})->ArgsProduct({{0, 1, 2, 3}, {1000}});

/// map and unmap of one page, which no system call of slat's own can avoid.
void map_unmap(benchmark::State& state) {
  Space& space = shared_space(state);
  BackingRef backing(*Backing::create("bench-map", page_size, std::make_unique<ZeroSource>()));
  for (auto _ : state) {
    const auto at = space.mm.map({.length = page_size, .backing = backing.get()});
    benchmark::DoNotOptimize(space.mm.unmap(*at, page_size));
  }
  state.SetLabel(std::string(to_string(space.mm.vma_lock())));
}

BENCHMARK(map_unmap)->ArgNames({"design", "vmas"})->ArgsProduct({{0, 1, 2, 3}, {1000}});

} // namespace
