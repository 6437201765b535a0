// slat bench mmu: the designs of VMA locks side by side. In each round every design runs each cell
// once, in alternating order, so that a drift of the machine cancels out of the ratios.
#include "slat/bench.hpp"
#include "slat/bench_mmu_cells.hpp"
#include "slat/exit_codes.hpp"
#include "slat/progress.hpp"
#include "slat/run.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

namespace slat::tool {

namespace {

constexpr std::size_t design_count = std::size(mmu::all_vma_lock_designs);

struct Options {
  unsigned rounds = 5;
  unsigned cell_ms = 60;
  unsigned vmas = 1000;
  std::vector<unsigned> threads;
  std::vector<unsigned> writer_rates = {0, 1000};
  std::vector<std::string> workloads;
  bool json = false;
};

struct Cell {
  Workload workload;
  unsigned threads;
  unsigned writer_rate;
  std::array<std::vector<double>, design_count> rates; // operations per second, round by round
};

std::vector<double> ratios(const std::vector<double>& rates, const std::vector<double>& base) {
  std::vector<double> values;
  for (std::size_t i = 0; i < rates.size(); ++i) values.push_back(rates[i] / base[i]);
  return values;
}

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

/// The signal that has ended it, if one has.
std::optional<int> run_rounds(const Options& options, std::vector<Cell>& cells,
                              std::array<std::unique_ptr<BenchSpace>, design_count>& spaces) {
  Progress progress;
  const std::size_t total = (options.rounds + 1) * cells.size();
  std::size_t done = 0;
  for (unsigned round = 0; round <= options.rounds; ++round) // round 0 warms up
    for (Cell& cell : cells) {
      progress.show(fmt::format("{:3.0f} %  round {} of {}: {}, {} thread(s), {} writes/s",
                                100.0 * double(done++) / double(total), round, options.rounds,
                                to_string(cell.workload), cell.threads, cell.writer_rate));
      for (std::size_t turn = 0; turn < design_count; ++turn) {
        if (const auto signal = pending_signal()) return signal;
        const std::size_t design = round % 2 == 0 ? turn : design_count - 1 - turn;
        const double rate = spaces[design]->run(cell.workload, cell.threads, cell.writer_rate,
                                                double(options.cell_ms) / 1000);
        if (round != 0) cell.rates[design].push_back(rate);
      }
    }
  return std::nullopt;
}

/// Leaves in every cell the rounds that all of them have had; how many these are.
std::size_t keep_whole_rounds(std::vector<Cell>& cells) {
  std::size_t whole = cells.front().rates[0].size();
  for (const Cell& cell : cells)
    for (const auto& rates : cell.rates) whole = std::min(whole, rates.size());
  for (Cell& cell : cells)
    for (auto& rates : cell.rates) rates.resize(whole);
  return whole;
}

void print_table(const std::vector<Cell>& cells) {
  fmt::print("{:<10} {:>3} {:>7} {:>10}", "", "thr", "writes/s", "mmap-lock");
  for (std::size_t design = 1; design < design_count; ++design)
    fmt::print(" {:>14}", mmu::to_string(mmu::all_vma_lock_designs[design]));
  fmt::print("\n");
  for (const Cell& cell : cells) {
    fmt::print("{:<10} {:>3} {:>7} {:>10}", to_string(cell.workload), cell.threads,
               cell.writer_rate, human(median(cell.rates[0])));
    for (std::size_t design = 1; design < design_count; ++design) {
      const std::vector<double> ratio = ratios(cell.rates[design], cell.rates[0]);
      const double middle = median(ratio);
      const double spread = *std::max_element(ratio.begin(), ratio.end()) -
                            *std::min_element(ratio.begin(), ratio.end());
      fmt::print(" {:>8.2f} ~{:<4.2f}", middle, spread / 2);
    }
    fmt::print("\n");
  }
  fmt::print("\nmmap-lock: operations per second, median. The others: ratio to it in the same\n"
             "round, median ~ half the spread.\n");
  std::map<std::string_view, std::string_view> legend;
  for (const Cell& cell : cells) legend[to_string(cell.workload)] = describe(cell.workload);
  for (const auto& [name, text] : legend) fmt::print("  {:<10} {}\n", name, text);
}

void print_json(const Options& options, std::size_t rounds, const std::vector<Cell>& cells) {
  nlohmann::ordered_json json;
  json["rounds"] = rounds;
  json["cell_ms"] = options.cell_ms;
  json["vmas"] = options.vmas;
  for (const Cell& cell : cells) {
    nlohmann::ordered_json row = {{"workload", to_string(cell.workload)},
                                  {"threads", cell.threads},
                                  {"writes_per_second", cell.writer_rate}};
    for (std::size_t design = 0; design < design_count; ++design) {
      const std::vector<double> ratio = ratios(cell.rates[design], cell.rates[0]);
      row["designs"][std::string(mmu::to_string(mmu::all_vma_lock_designs[design]))] = {
          {"operations_per_second", median(cell.rates[design])},
          {"ratio", median(ratio)},
          {"ratio_min", *std::min_element(ratio.begin(), ratio.end())},
          {"ratio_max", *std::max_element(ratio.begin(), ratio.end())}};
    }
    json["cells"].push_back(std::move(row));
  }
  fmt::print("{}\n", json.dump());
}

int run_bench(const Options& options) {
  const unsigned most = *std::max_element(options.threads.begin(), options.threads.end());
  std::array<std::unique_ptr<BenchSpace>, design_count> spaces;
  for (std::size_t design = 0; design < design_count; ++design) {
    auto space = BenchSpace::create(mmu::all_vma_lock_designs[design], options.vmas, most);
    if (!space) {
      fmt::print(stderr, "slat: bench mmu: {}\n", space.error().message);
      return space.error().code == mmu::Errc::no_memory ? exit_host_limit : exit_host_failed;
    }
    spaces[design] = std::move(*space);
  }
  std::vector<Cell> cells = cells_of(options);
  if (!options.json)
    fmt::print("slat bench mmu: {} VMAs, {} round(s) of {} ms a cell\n", options.vmas,
               options.rounds, options.cell_ms);
  const auto signal = run_rounds(options, cells, spaces);
  const std::size_t rounds = keep_whole_rounds(cells);
  if (signal) fmt::print(stderr, "slat: bench mmu: interrupted after {} whole round(s)\n", rounds);
  if (rounds != 0 && options.json)
    print_json(options, rounds, cells);
  else if (rounds != 0)
    print_table(cells);
  return signal ? 128 + *signal : int(exit_success);
}

} // namespace

void add_bench_mmu(CLI::App& bench, Command& run) {
  auto options = std::make_shared<Options>();
  for (unsigned threads = 1; threads <= std::max(1u, std::thread::hardware_concurrency());
       threads *= 2)
    options->threads.push_back(threads);
  CLI::App* const command =
      bench.add_subcommand("mmu", "The designs of VMA locks side by side, without a guest");
  command->add_option("--rounds", options->rounds, "Measured rounds")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
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
  command->add_flag("--json", options->json, "One JSON object");
  command->callback([options, &run] { run = [options] { return run_bench(*options); }; });
}

} // namespace slat::tool
