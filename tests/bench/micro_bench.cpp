// What the hot paths of mmu/ cost, one thread and several. slat_micro_bench --benchmark_filter=... --benchmark_repetitions=9
#include "mmu/fault.hpp"
#include "mmu/rcu.hpp"
#include "mmu/srcu.hpp"
#include "mmu/translation_cache.hpp"
#include "mmu/zero_source.hpp"

#include <benchmark/benchmark.h>
#include <memory>
#include <vector>

namespace {

using namespace slat::mmu;

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
  InstallResult install(std::uintptr_t, std::size_t pages, bool) override {
    return {InstallStatus::installed, pages};
  }
};

/// An address space of `vmas` one-page mappings with gaps, all present.
struct Space {
  explicit Space(std::size_t vmas) {
    backing.reset(*Backing::create("bench", vmas * page_size, std::make_unique<ZeroSource>()));
    for (std::size_t i = 0; i < vmas; ++i) {
      const std::uintptr_t address =
          *mm.map({.length = page_size, .backing = backing.get(), .pgoff = i});
      addresses.push_back(address);
      (void)handle_mm_fault(mm, {.address = address, .access = vm_write});
    }
  }

  Counters counters;
  BackingRef backing;
  std::unique_ptr<AddressSpace> owned = *AddressSpace::create({}, counters);
  AddressSpace& mm = *owned;
  std::vector<std::uintptr_t> addresses;
};

Space& shared_space() {
  static Space space(64);
  return space;
}

void lock_vma_under_rcu(benchmark::State& state) {
  Space& space = shared_space();
  std::size_t i = std::size_t(state.thread_index()) * 7;
  for (auto _ : state) {
    VmaTicket ticket = space.mm.lock_vma_under_rcu(space.addresses[i++ % space.addresses.size()]);
    space.mm.vma_end_read(ticket);
  }
}

BENCHMARK(lock_vma_under_rcu)->ThreadRange(1, 2);

void lock_vma_under_mm_lock(benchmark::State& state) {
  Space& space = shared_space();
  std::size_t i = std::size_t(state.thread_index()) * 7;
  for (auto _ : state) {
    VmaTicket ticket =
        space.mm.lock_vma_under_mm_lock(space.addresses[i++ % space.addresses.size()]);
    space.mm.vma_end_read(ticket);
  }
}

BENCHMARK(lock_vma_under_mm_lock)->ThreadRange(1, 2);

void fault_on_a_present_page(benchmark::State& state) {
  Space& space = shared_space();
  NullMmu mmu;
  std::size_t i = std::size_t(state.thread_index()) * 7;
  for (auto _ : state)
    benchmark::DoNotOptimize(handle_mm_fault(
        space.mm, {.address = space.addresses[i++ % space.addresses.size()], .mmu = &mmu}));
}

BENCHMARK(fault_on_a_present_page)->ThreadRange(1, 2);

TranslationCache& shared_cache() {
  static auto& cache = *[] {
    auto* const made = new TranslationCache(shared_space().mm);
    (void)shared_space().mm.notifiers().register_notifier(*made);
    return made;
  }();
  return cache;
}

void pin_with_a_cached_translation(benchmark::State& state) {
  Space& space = shared_space();
  TranslationCache& cache = shared_cache();
  const std::uintptr_t address = space.addresses[std::size_t(state.thread_index())];
  for (auto _ : state) benchmark::DoNotOptimize(cache.pin(address, 64, vm_write)->bytes().data());
}

BENCHMARK(pin_with_a_cached_translation)->ThreadRange(1, 2);

/// What a range costs while nothing is pinned, with a translation cache registered.
void start_and_end_of_a_range(benchmark::State& state) {
  Space& space = shared_space();
  (void)shared_cache();
  for (auto _ : state)
    benchmark::DoNotOptimize(space.mm.notifiers().invalidate_range_start(
        {space.addresses[0], space.addresses[0] + page_size, InvalidateEvent::zap}));
}

BENCHMARK(start_and_end_of_a_range);

void zap_of_one_page(benchmark::State& state) {
  Space& space = shared_space();
  for (auto _ : state)
    benchmark::DoNotOptimize(space.mm.advise(space.addresses[0], page_size, Advice::dontneed));
}

BENCHMARK(zap_of_one_page);

} // namespace
