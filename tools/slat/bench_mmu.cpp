// slat bench mmu: the designs of VMA locks side by side. In each round every design runs each cell
// once, in alternating order, so that a drift of the machine cancels out of the ratios.
#include "slat/bench.hpp"
#include "slat/bench_mmu_cells.hpp"
#include "slat/bench_plain_map.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_threads.hpp"
#include "slat/exit_codes.hpp"
#include "slat/progress.hpp"
#include "slat/run.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <memory>

namespace slat::tool {

namespace bench_mmu {

namespace {

constexpr std::size_t design_count = std::size(mmu::all_vma_lock_designs);

/// Of the table: the designs, and std::map under std::shared_mutex.
constexpr std::size_t columns = design_count + 1;

std::string_view column_name(std::size_t column) {
  return column < design_count ? mmu::to_string(mmu::all_vma_lock_designs[column]) : "std::map";
}

struct Options {
  BenchOptions bench;
  unsigned cell_ms = 60;
  unsigned vmas = 1000;
  std::vector<unsigned> threads;
  std::vector<unsigned> writer_rates = {0, 1000};
  std::vector<std::string> workloads;
};

struct Spaces {
  std::array<std::unique_ptr<BenchSpace>, design_count> designs;
  std::unique_ptr<PlainMap> plain;
};

struct Cell {
  Workload workload;
  unsigned threads;
  unsigned writer_rate;
  std::array<std::vector<double>, columns>
      rates; // operations per second, round by round; std::map has few
};

std::string human(double rate) {
  if (rate >= 1e6) return fmt::format("{:.2f}M", rate / 1e6);
  if (rate >= 1e3) return fmt::format("{:.1f}k", rate / 1e3);
  return fmt::format("{:.0f}", rate);
}

std::vector<Cell> cells_of(const Options& options) {
  std::vector<Cell> cells;
  for (const Workload workload : all_workloads) {
    if (!options.workloads.empty() && std::find(options.workloads.begin(), options.workloads.end(),
                                                to_string(workload)) == options.workloads.end())
      continue;
    for (const unsigned threads : options.threads)
      for (const unsigned rate : options.writer_rates)
        cells.push_back({workload, threads, rate, {}});
  }
  return cells;
}

/// Until the end, or a signal.
void run_rounds(const Options& options, std::vector<Cell>& cells, Spaces& spaces) {
  Progress progress;
  const std::size_t total = (options.bench.rounds + 1) * cells.size();
  const double seconds = double(options.cell_ms) / 1000;
  std::size_t done = 0;
  for (unsigned round = 0; round <= options.bench.rounds; ++round) // round 0 warms up
    for (Cell& cell : cells) {
      progress.show(fmt::format("{:3.0f} %  round {} of {}: {}, {} thread(s), {} writes/s",
                                100.0 * double(done++) / double(total), round, options.bench.rounds,
                                to_string(cell.workload), cell.threads, cell.writer_rate));
      for (std::size_t turn = 0; turn < columns; ++turn) {
        if (pending_signal()) return;
        const std::size_t column = round % 2 == 0 ? turn : columns - 1 - turn;
        if (column == design_count && !PlainMap::has(cell.workload)) continue;
        const double rate =
            column < design_count
                ? spaces.designs[column]->run(cell.workload, cell.threads, cell.writer_rate,
                                              seconds)
                : spaces.plain->run(cell.workload, cell.threads, cell.writer_rate, seconds);
        if (round != 0) cell.rates[column].push_back(rate);
      }
    }
}

/// Leaves in every cell the rounds that all of them have had.
void keep_whole_rounds(std::vector<Cell>& cells) {
  std::size_t whole = cells.front().rates[0].size();
  for (const Cell& cell : cells)
    for (std::size_t column = 0; column < columns; ++column)
      if (column < design_count || PlainMap::has(cell.workload))
        whole = std::min(whole, cell.rates[column].size());
  for (Cell& cell : cells)
    for (auto& rates : cell.rates) rates.resize(std::min(whole, rates.size()));
}

void print_table(const Options& options, const std::vector<Cell>& cells) {
  fmt::print("slat bench mmu: {} VMAs, {} round(s) of {} ms a cell\n", options.vmas,
             cells.front().rates[0].size(), options.cell_ms);
  fmt::print("{:<9} {:>3} {:>6} {:>9}", "", "thr", "writes", "mmap-lock");
  for (std::size_t column = 1; column < columns; ++column)
    fmt::print(" {:>11}", column_name(column).substr(0, 11));
  fmt::print("\n");
  for (const Cell& cell : cells) {
    fmt::print("{:<9} {:>3} {:>6} {:>9}", to_string(cell.workload), cell.threads, cell.writer_rate,
               human(median(cell.rates[0])));
    for (std::size_t column = 1; column < columns; ++column) {
      const std::vector<double> ratio = quotients(cell.rates[column], cell.rates[0]);
      if (ratio.empty()) {
        fmt::print(" {:>11}", "-");
        continue;
      }
      const double spread = *std::max_element(ratio.begin(), ratio.end()) -
                            *std::min_element(ratio.begin(), ratio.end());
      fmt::print(" {:>5.2f} ~{:<4.2f}", median(ratio), spread / 2);
    }
    fmt::print("\n");
  }
  fmt::print("\nmmap-lock: operations per second, median. The others: ratio to it in the same\n"
             "round, median ~ half the spread. std::map: under a std::shared_mutex; it finds,\n"
             "inserts and erases, and does nothing else that a memory map has to do.\n");
  std::map<std::string_view, std::string_view> legend;
  for (const Cell& cell : cells) legend[to_string(cell.workload)] = describe(cell.workload);
  for (const auto& [name, text] : legend) fmt::print("  {:<9} {}\n", name, text);
}

std::string cell_name(const Cell& cell, std::size_t column) {
  return fmt::format("{}/{}/{}/{}", to_string(cell.workload), cell.threads, cell.writer_rate,
                     column_name(column));
}

void fill(const std::vector<Cell>& cells, BenchReport& out) {
  for (const Cell& cell : cells)
    for (std::size_t column = 0; column < columns; ++column) {
      if (cell.rates[column].empty()) continue;
      const Labels labels = {{"workload", to_string(cell.workload)},
                             {"threads", cell.threads},
                             {"writes_per_second", cell.writer_rate},
                             {"design", column_name(column)}};
      const std::string name = cell_name(cell, column);
      out.figures.push_back({name, "operations/s", cell.rates[column], labels});
      if (column != 0)
        out.add_ratio(name + ":mmap-lock", name, cell_name(cell, 0), Better::higher, {}, labels);
    }
}

int measure(const Options& options, std::vector<Cell>& cells, BenchReport& out) {
  out.options = {{"vmas", options.vmas}, {"cell_ms", options.cell_ms}};
  const unsigned most = *std::max_element(options.threads.begin(), options.threads.end());
  Spaces spaces;
  for (std::size_t design = 0; design < design_count; ++design) {
    auto space = BenchSpace::create(mmu::all_vma_lock_designs[design], options.vmas, most);
    if (!space) {
      fmt::print(stderr, "slat: bench mmu: {}\n", space.error().message);
      return space.error().code == mmu::Errc::no_memory ? exit_host_limit : exit_host_failed;
    }
    spaces.designs[design] = std::move(*space);
  }
  spaces.plain = std::make_unique<PlainMap>(*spaces.designs[0]);
  cells = cells_of(options);
  run_rounds(options, cells, spaces);
  keep_whole_rounds(cells);
  fill(cells, out);
  return exit_success;
}

} // namespace
} // namespace bench_mmu

void add_bench_mmu(CLI::App& bench, Command& run) {
  using namespace bench_mmu;
  auto options = std::make_shared<Options>();
  options->threads = thread_counts();
  CLI::App* const command =
      bench.add_subcommand("mmu", "The designs of VMA locks side by side, without a guest");
  options->bench.add_to(*command);
  command->add_option("--cell-ms", options->cell_ms, "How long a cell runs in a round")
      ->capture_default_str()
      ->check(CLI::Range(1, 60000));
  command->add_option("--vmas", options->vmas, "VMAs in each address space")
      ->capture_default_str()
      ->check(CLI::Range(1, 30000));
  command->add_option("--threads", options->threads, "Numbers of threads")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--writer-rate", options->writer_rates,
                   "Changes of the map a second by a background writer")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  std::vector<std::string> names;
  for (const Workload workload : all_workloads) names.emplace_back(to_string(workload));
  command->add_option("--workload", options->workloads, "Only these; all if none is named")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  auto cells = std::make_shared<std::vector<Cell>>();
  add_benchmark(
      *command, run, std::shared_ptr<const BenchOptions>(options, &options->bench),
      [options, cells](BenchReport& out) { return measure(*options, *cells, out); },
      [options, cells](const BenchReport&) { print_table(*options, *cells); });
}

} // namespace slat::tool
