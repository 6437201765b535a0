#include "slat/scale/measure.hpp"

#include "mmu/address_space_of.hpp"
#include "mmu/rcu.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_mmu.hpp"
#include "mmu/stage2/stage2_zap.hpp"
#include "mmu/vma_lock/all_designs.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <sys/mman.h>
#include <thread>

namespace slat::tool::scale {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t slice_pages = 64; // of a thread: page words of its own lines
constexpr unsigned vma_count = 1000;
constexpr unsigned samples = 40;

class NoContent final : public mmu::PageSource {
 public:
  mmu::FillResult fill(mmu::Backing&, mmu::PageRun) override { return mmu::FillResult::filled; }

  [[nodiscard]] bool may_sleep() const override { return false; }

  [[nodiscard]] std::string_view name() const override { return "none"; }
};

struct NowhereMmu final : mmu::SecondaryMmu {
  mmu::InstallResult install(const mmu::InstallRequest& run) override {
    return {mmu::InstallStatus::installed, run.pages};
  }
};

struct NoTlb final : mmu::TlbFlusher {
  void flush_range(std::uintptr_t, std::uintptr_t) override {}
};

/// One VMA for both threads, one for each, and many others; all pages present.
struct Space {
  static mmu::Result<std::unique_ptr<Space>> create(mmu::VmaLockDesign design) {
    auto space = std::make_unique<Space>();
    auto mm = mmu::AddressSpace::create({.vma_lock = design, .vma_limit = std::size_t(1) << 30},
                                        space->counters);
    if (!mm) return mmu::forward(mm);
    space->mm = std::move(*mm);
    const auto add = [&](std::uint64_t pages) -> mmu::Result<std::uintptr_t> {
      // A backing for each, so that they do not merge.
      auto made =
          mmu::Backing::create("slat-scale", pages * mmu::page_size, std::make_unique<NoContent>());
      if (!made) return mmu::forward(made);
      space->backings.emplace_back(*made);
      auto at = space->mm->map({.length = pages * mmu::page_size, .backing = *made});
      for (std::uint64_t page = 0; at && page < pages; ++page)
        (void)mmu::handle_mm_fault(
            *space->mm, {.address = *at + page * mmu::page_size, .mmu = &space->nowhere});
      return at;
    };
    auto shared = add(2 * slice_pages);
    if (!shared) return mmu::forward(shared);
    space->start = {*shared, *shared + slice_pages * mmu::page_size, 0, 0};
    for (unsigned thread = 0; thread < 2; ++thread) {
      auto own = add(slice_pages);
      if (!own) return mmu::forward(own);
      space->start[2 + thread] = *own;
    }
    for (unsigned i = 0; i < vma_count; ++i) {
      auto other = add(1);
      if (!other) return mmu::forward(other);
      space->others.push_back(*other);
    }
    return space;
  }

  mmu::Counters counters;
  NowhereMmu nowhere;
  std::vector<mmu::BackingRef> backings;
  std::unique_ptr<mmu::AddressSpace> mm;
  std::array<std::uintptr_t, 4> start{}; // of the slices: two in one VMA, two in their own
  std::vector<std::uintptr_t> others;
};

constexpr std::uint64_t rounds_of_burst = 16; // over the slice: some 50 us, less than a time slice

/// Of all threads, a second; 0 if they hardly ever ran together.
double fault_rate(Space& space, bool one_vma, const std::vector<int>& on) {
  const double ns = together(on, [&](unsigned thread) {
    const std::uintptr_t start = space.start[(one_vma ? 0 : 2) + thread];
    for (std::uint64_t round = 0; round < rounds_of_burst; ++round)
      for (std::uint64_t page = 0; page < slice_pages; ++page)
        (void)mmu::handle_mm_fault(
            *space.mm, {.address = start + page * mmu::page_size, .mmu = &space.nowhere});
  });
  return ns == 0 ? 0 : double(on.size() * rounds_of_burst * slice_pages) / ns * 1e9;
}

void measure_sharing(Costs& costs, int one, int other) {
  costs.set(transfer, measure_transfer(one, other));
  const double contended = measure_contended_add(one, other);
  if (contended != 0) costs.set(keep, keep_time(costs[rmw], costs[transfer], contended));
}

void measure_mmu(Costs& costs, Space& space) {
  mmu::Srcu domain;
  costs.set(srcu, sample(samples, 10'000, [&] {
              for (unsigned i = 0; i < 10'000; ++i) const mmu::Srcu::ReadGuard section(domain);
            }));
  std::mt19937_64 random(1);
  std::vector<std::uintptr_t> keys(4096);
  for (std::uintptr_t& key : keys) key = space.others[random() % space.others.size()];
  auto& tree = static_cast<mmu::AddressSpaceOf<mmu::PerVmaRefcount>&>(*space.mm).design().tree;
  costs.set(lookup, sample(samples, 4096, [&] {
              const mmu::rcu::ReadGuard section;
              for (const std::uintptr_t key : keys) {
                auto* volatile found = tree.find(key);
                (void)found;
              }
            }));
}

mmu::Result<void> measure_install(Costs& costs) {
  using Table = mmu::Stage2Table<mmu::stage2::EptFormat>;
  constexpr std::uint64_t pages = 512;
  NoTlb flusher;
  mmu::InvalidateSeq seq;
  auto table = Table::create({.limit = 2 * pages * mmu::page_size}, flusher);
  if (!table) return mmu::forward(table);
  const auto map = [&](std::uint64_t n) {
    (void)(*table)->map({.address = n * mmu::page_size,
                         .host = (std::uint64_t(1) << 40) + n * mmu::page_size,
                         .hva = n * mmu::page_size,
                         .allowed = {true, true, true},
                         .write = true,
                         .max_level = 1},
                        seq, seq.snapshot());
  };
  std::vector<double> values;
  for (unsigned i = 0; i < samples; ++i) {
    const auto start = Clock::now();
    for (std::uint64_t n = 0; n < pages; ++n) map(n);
    values.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
                     double(pages));
    (*table)->zap_range(0, pages * mmu::page_size);
  }
  costs.set(install, lower_quarter(values));
  return {};
}

void measure_host_fault(Costs& costs) {
  constexpr std::size_t pages = 512;
  constexpr std::size_t bytes = pages * mmu::page_size;
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return; // stays assumed
  (void)madvise(memory, bytes, MADV_NOHUGEPAGE);
  std::vector<double> values;
  for (unsigned i = 0; i < samples; ++i) {
    (void)madvise(memory, bytes, MADV_DONTNEED);
    const auto start = Clock::now();
    for (std::size_t page = 0; page < pages; ++page)
      static_cast<volatile char*>(memory)[page * mmu::page_size] = 1;
    values.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
                     double(pages));
  }
  munmap(memory, bytes);
  costs.set(host_fault, lower_quarter(values));
}

} // namespace

mmu::Result<Measured> measure(const std::function<void(std::string_view)>& show) {
  Measured measured;
  Costs& costs = measured.costs;
  const std::vector<int> on = two_processors();

  show("lines of cache");
  std::atomic<std::uint64_t> word{0};
  costs.set(rmw, sample(samples, 10'000, [&] {
              for (unsigned i = 0; i < 10'000; ++i) word.fetch_add(1, std::memory_order_relaxed);
            }));
  if (on.size() == 2)
    measure_sharing(costs, on[0], on[1]);
  else
    measured.notes.emplace_back("one processor: the transfer of a line is assumed, and nothing is "
                                "checked with two threads");

  show("installs and faults of the host");
  if (auto ok = measure_install(costs); !ok) return mmu::forward(ok);
  measure_host_fault(costs);

  std::vector<std::unique_ptr<Space>> spaces;
  for (const mmu::VmaLockDesign design : mmu::all_vma_lock_designs) {
    auto space = Space::create(design);
    if (!space) return mmu::forward(space);
    spaces.push_back(std::move(*space));
  }
  measure_mmu(costs, *spaces.back());

  show("faults");
  for (std::size_t d = 0; d < spaces.size(); ++d)
    for (const bool one_vma : {false, true})
      for (unsigned threads = 1; threads <= on.size(); ++threads) {
        const double rate =
            fault_rate(*spaces[d], one_vma, std::vector<int>(on.begin(), on.begin() + threads));
        if (rate == 0) {
          measured.notes.emplace_back("two threads never ran together for long: no check of them");
          continue;
        }
        if (threads == 1 && !one_vma) costs.set(Step(fault_mmap + d), 1e9 / rate);
        measured.checks.push_back({mmu::all_vma_lock_designs[d], one_vma, threads, rate});
      }

  show("userfaultfd");
  if (std::string missing = measure_uffd(costs); !missing.empty())
    measured.notes.push_back("the steps of userfaultfd are assumed: " + missing);
  return measured;
}

} // namespace slat::tool::scale
