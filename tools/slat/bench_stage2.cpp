// slat bench stage2: slat's own second-level tables, without a guest. Each step runs on one thread and on several, each
// thread in a part of its own, in turn with the obvious alternative: a std::map under a std::shared_mutex.
#include "mmu/address_space.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_mmu.hpp"
#include "mmu/stage2/stage2_reshape.hpp"
#include "mmu/stage2/stage2_zap.hpp"
#include "mmu/zero_source.hpp"
#include "slat/bench.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"
#include "slat/bench_threads.hpp"
#include "slat/machine_options.hpp"
#include "slat/run.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <thread>

namespace slat::tool {

namespace bench_stage2 {

namespace {

using mmu::page_size;
using mmu::stage2::EptFormat;
using Table = mmu::stage2::Stage2Table<EptFormat>;

constexpr std::uint64_t host_base = std::uint64_t(1) << 40;
constexpr std::uint64_t huge_pages = 512;

struct Options {
  BenchOptions bench;
  std::uint64_t pages = 16384; // of a thread
  std::vector<unsigned> threads;
};

struct NoTlb final : mmu::TlbFlusher {
  void flush_range(std::uintptr_t, std::uintptr_t) override {}
};

/// The table of threads * pages, and what stands in for it.
class Tables {
 public:
  static mmu::Result<std::unique_ptr<Tables>> create(std::uint64_t pages, unsigned threads) {
    std::unique_ptr<Tables> tables(new Tables);
    const std::uint64_t bytes = pages * threads * page_size;
    auto table = Table::create({.limit = bytes}, tables->flusher_);
    if (!table) return mmu::forward(table);
    tables->table_ = std::move(*table);
    auto backing = mmu::Backing::create("bench-stage2", bytes, std::make_unique<mmu::ZeroSource>());
    if (!backing) return mmu::forward(backing);
    tables->backing_ = mmu::BackingRef(*backing);
    auto mm = mmu::AddressSpace::create({}, tables->counters_);
    if (!mm) return mmu::forward(mm);
    tables->mm_ = std::move(*mm);
    auto mapped = tables->mm_->map({.length = bytes, .backing = tables->backing_.get()});
    if (!mapped) return mmu::forward(mapped);
    tables->base_ = *mapped;
    tables->mmu_ = std::make_unique<mmu::stage2::Stage2Mmu<EptFormat>>(
        *tables->table_, tables->mm_->notifiers().sequence(),
        std::vector<mmu::stage2::Stage2Slot>{{0, *mapped, *mapped + bytes}});
    tables->order_.resize(pages);
    for (std::uint64_t n = 0; n < pages; ++n) tables->order_[n] = n;
    std::mt19937_64 random(1);
    std::shuffle(tables->order_.begin(), tables->order_.end(), random);
    return tables;
  }

  /// One pass of a thread over its pages; whether everything was as it should be.
  using Step = bool (Tables::*)(unsigned thread);

  bool install(unsigned thread) {
    bool good = true;
    for (const std::uint64_t n : order_) good &= map(first(thread) + n, 1);
    return good;
  }

  bool install_huge(unsigned thread) {
    bool good = true;
    for (std::uint64_t n = 0; n < order_.size(); n += huge_pages) good &= map(first(thread) + n, 2);
    return good;
  }

  bool access(unsigned thread) {
    bool good = true;
    for (const std::uint64_t n : order_)
      good &= table_->access((first(thread) + n) * page_size, true).has_value();
    return good;
  }

  bool fault(unsigned thread) {
    bool good = true;
    for (const std::uint64_t n : order_)
      good &= mmu::handle_mm_fault(*mm_, {.address = base_ + (first(thread) + n) * page_size,
                                          .access = mmu::vm_read | mmu::vm_write,
                                          .mmu = mmu_.get()})
                  .result == mmu::FaultResult::done;
    return good;
  }

  bool zap(unsigned thread) {
    return table_->zap_range(first(thread) * page_size,
                             (first(thread) + order_.size()) * page_size);
  }

  bool split(unsigned thread) {
    return bool(table_->split_range(first(thread) * page_size,
                                    (first(thread) + order_.size()) * page_size));
  }

  bool map_install(unsigned thread) {
    for (const std::uint64_t n : order_) {
      const std::uint64_t address = (first(thread) + n) * page_size;
      const std::lock_guard lock(mutex_);
      plain_.insert_or_assign(address, host_base + address);
    }
    return true;
  }

  bool map_access(unsigned thread) {
    bool good = true;
    for (const std::uint64_t n : order_) {
      const std::shared_lock lock(mutex_);
      good &= plain_.find((first(thread) + n) * page_size) != plain_.end();
    }
    return good;
  }

  bool map_zap(unsigned thread) {
    const std::lock_guard lock(mutex_);
    plain_.erase(plain_.lower_bound(first(thread) * page_size),
                 plain_.lower_bound((first(thread) + order_.size()) * page_size));
    return true;
  }

 private:
  Tables() = default;

  [[nodiscard]] std::uint64_t first(unsigned thread) const { return thread * order_.size(); }

  bool map(std::uint64_t page, unsigned level) {
    const mmu::InvalidateSeq& seq = mm_->notifiers().sequence();
    return table_->map({.address = page * page_size,
                        .host = host_base + page * page_size,
                        .hva = base_ + page * page_size,
                        .allowed = {true, true, true},
                        .write = true,
                        .max_level = level},
                       seq, seq.snapshot()) == mmu::stage2::MapOutcome::installed;
  }

  NoTlb flusher_;
  mmu::Counters counters_;
  mmu::BackingRef backing_;
  std::unique_ptr<mmu::AddressSpace> mm_;
  std::unique_ptr<Table> table_;
  std::unique_ptr<mmu::stage2::Stage2Mmu<EptFormat>> mmu_;
  std::uintptr_t base_ = 0;
  std::vector<std::uint64_t> order_; // every page of a part once
  std::shared_mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> plain_;
};

/// In this order each finds what it needs.
struct NamedStep {
  std::string_view name;
  Tables::Step step;
  std::uint64_t divisor = 1; // pages in an operation
};

constexpr NamedStep steps[] = {{"install", &Tables::install},
                               {"access", &Tables::access},
                               {"zap", &Tables::zap},
                               {"fault, host present", &Tables::fault},
                               {"zap ", &Tables::zap}, // only clears up
                               {"install 2M", &Tables::install_huge, huge_pages},
                               {"split 2M", &Tables::split, huge_pages},
                               {"zap ", &Tables::zap},
                               {"map: install", &Tables::map_install},
                               {"map: access", &Tables::map_access},
                               {"map: zap", &Tables::map_zap}};

struct Cell {
  std::string_view step;
  unsigned threads;
  std::vector<double> ns = {};
};

std::string cell_name(std::string_view step, unsigned threads) {
  return fmt::format("{}/{}", step, threads);
}

/// The tables anew, and each step once.
vmm::Result<void> run_steps(const Options& options, unsigned threads, bool keep,
                            std::vector<Cell>& cells) {
  const auto failed = [](std::string_view what) {
    return vmm::fail(vmm::Errc::host_failed, 0, fmt::format("bench stage2: {}", what));
  };
  auto tables = Tables::create(options.pages, threads);
  if (!tables) return failed(tables.error().message);
  for (unsigned i = 0; i < threads; ++i) // the host has the pages from now on
    if (!(*tables)->fault(i) || !(*tables)->zap(i)) return failed("the pages cannot be filled");
  for (const NamedStep& step : steps) {
    if (pending_signal()) return vmm::fail(vmm::Errc::host_failed, 0, "interrupted");
    std::atomic<bool> good{true};
    const double seconds = run_threads(threads, [&](unsigned thread) {
      if (!((**tables).*step.step)(thread)) good.store(false, std::memory_order_relaxed); // joined
    });
    if (!good.load()) return failed(fmt::format("'{}' did not do what it should", step.name));
    if (!keep || step.name.ends_with(' ')) continue;
    const double operations = double(options.pages) * threads / double(step.divisor);
    const auto cell = std::find_if(cells.begin(), cells.end(), [&](const Cell& c) {
      return c.step == step.name && c.threads == threads;
    });
    cell->ns.push_back(seconds * 1e9 / operations);
  }
  return {};
}

void fill(const Options& options, const std::vector<Cell>& cells, BenchReport& out) {
  for (const Cell& cell : cells)
    if (!cell.ns.empty())
      out.figures.push_back({cell_name(cell.step, cell.threads),
                             "ns",
                             cell.ns,
                             {{"step", cell.step}, {"threads", cell.threads}}});
  for (const unsigned threads : options.threads) {
    const Labels labels = {{"threads", threads}};
    for (const std::string_view step : {"install", "access", "zap"})
      out.add_ratio(cell_name(step, threads) + ":std::map", cell_name(step, threads),
                    cell_name(fmt::format("map: {}", step), threads), Better::lower, {}, labels);
    out.add_ratio(cell_name("fault, host present", threads) + ":install",
                  cell_name("fault, host present", threads), cell_name("install", threads),
                  Better::lower, {}, labels);
    if (threads == options.threads.front()) continue;
    for (const std::string_view step : {"install", "access", "fault, host present", "zap"})
      out.add_ratio(
          fmt::format("{}:{} thread(s)", cell_name(step, threads), options.threads.front()),
          cell_name(step, threads), cell_name(step, options.threads.front()), Better::lower, {},
          labels);
  }
}

int measure(const Options& options, BenchReport& out) {
  out.options = {{"pages", options.pages}, {"threads", options.threads}};
  std::vector<Cell> cells;
  for (const unsigned threads : options.threads)
    for (const NamedStep& step : steps)
      if (!step.name.ends_with(' ')) cells.push_back({step.name, threads});
  const auto ok = measure_rounds(
      {.measured = options.bench.rounds, .alternate = false}, options.threads.size(),
      [&](std::size_t n) { return fmt::format("{} thread(s)", options.threads[n]); },
      [&](std::size_t n, bool keep) {
        return run_steps(options, options.threads[n], keep, cells);
      });
  fill(options, cells, out);
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_stage2

void add_bench_stage2(CLI::App& bench, Command& run) {
  using namespace bench_stage2;
  auto options = std::make_shared<Options>();
  options->threads = thread_counts();
  CLI::App* const command = bench.add_subcommand(
      "stage2", "slat's stage-2 tables, beside a std::map under a std::shared_mutex");
  options->bench.add_to(*command);
  command->add_option("--pages", options->pages, "Pages of a thread; a multiple of 512")
      ->capture_default_str()
      ->check(CLI::Range(512, 1 << 22))
      ->check(CLI::Validator(
          [](std::string& text) {
            std::uint64_t value = 0;
            return CLI::detail::lexical_cast(text, value) && value % huge_pages == 0
                       ? std::string()
                       : fmt::format("'{}' is not a multiple of {}", text, huge_pages);
          },
          ""));
  command->add_option("--threads", options->threads, "Numbers of threads")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
