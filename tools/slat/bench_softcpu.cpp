// slat bench softcpu: what the software vCPU executes, alone and several at a time, and how KVM compares. A guest at a
// time runs memstress (every page checked); in each round each kind of machine runs once, in alternating order.
#include "slat/bench.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"
#include "slat/bench_threads.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <memory>

namespace slat::tool {

namespace bench_softcpu {

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  MachineOptions machine;
  BenchOptions bench;
  std::vector<unsigned> vcpus;
  unsigned cell_ms = 300;
};

struct Cell {
  vmm::Accel accel;
  unsigned vcpus;
  std::vector<double> visits = {}, instructions = {};

  [[nodiscard]] std::string name() const { return name_of(accel, vcpus); }

  static std::string name_of(vmm::Accel accel, unsigned vcpus) {
    return fmt::format("{}/{}", accel_name(accel), vcpus);
  }
};

vmm::Result<void> run_cell(const Options& options, Cell& cell, bool keep) {
  MachineOptions machine = options.machine;
  machine.cpus = cell.vcpus;
  const auto start = Clock::now();
  auto guest = BenchGuest::start(machine, cell.accel, options.machine.design(),
                                 {.command_line = "order=mix shared=0 quiet"});
  if (!guest) return vmm::forward(guest);
  if (auto ok = (*guest)->wait_until_populated(); !ok) return ok;
  auto visits = (*guest)->visits_per_second(double(options.cell_ms) / 1000);
  if (!visits) return vmm::forward(visits);
  (*guest)->stop();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (!keep) return {};
  cell.visits.push_back(*visits);
  if (cell.accel == vmm::Accel::soft)
    cell.instructions.push_back(double((*guest)->machine().instructions()) / seconds);
  return {};
}

int measure(const Options& options, BenchReport& out) {
  auto accelerators = bench_accelerators(options.machine);
  if (!accelerators) return report(accelerators.error());
  out.options = {{"memory", options.machine.memory}, {"cell_ms", options.cell_ms}};
  std::vector<Cell> cells;
  for (const vmm::Accel accel : *accelerators)
    for (const unsigned vcpus : options.vcpus) cells.push_back({accel, vcpus});
  const auto ok =
      measure_rounds({.measured = options.bench.rounds}, cells,
                     [&](Cell& cell, bool keep) { return run_cell(options, cell, keep); });
  for (const Cell& cell : cells) {
    if (cell.visits.empty()) continue;
    const Labels labels = {{"accel", accel_name(cell.accel)}, {"vcpus", cell.vcpus}};
    out.figures.push_back({cell.name(), "visits/s", cell.visits, labels});
    if (!cell.instructions.empty())
      out.figures.push_back(
          {cell.name() + "/instructions", "instructions/s", cell.instructions, labels});
  }
  for (const Cell& cell : cells) {
    const Labels labels = {{"accel", accel_name(cell.accel)}, {"vcpus", cell.vcpus}};
    const unsigned first = options.vcpus.front();
    if (cell.vcpus != first)
      out.add_ratio(fmt::format("{}:{} vCPU(s)", cell.name(), first), cell.name(),
                    Cell::name_of(cell.accel, first), Better::higher, {}, labels);
    if (cell.accel == vmm::Accel::soft)
      out.add_ratio(cell.name() + ":kvm", cell.name(), Cell::name_of(vmm::Accel::kvm, cell.vcpus),
                    Better::higher, {}, labels);
  }
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_softcpu

void add_bench_softcpu(CLI::App& bench, Command& run) {
  using namespace bench_softcpu;
  auto options = std::make_shared<Options>();
  options->machine.memory = "size=32M";
  options->vcpus = thread_counts();
  CLI::App* const command =
      bench.add_subcommand("softcpu", "The software vCPU: alone, several, and against KVM");
  options->bench.add_to(*command);
  command->add_option("--vcpus", options->vcpus, "Numbers of vCPUs")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 60));
  command->add_option("--cell-ms", options->cell_ms, "How long a machine works in a round")
      ->capture_default_str()
      ->check(CLI::Range(10, 60000));
  options->machine.add_guest_to(*command);
  options->machine.add_vma_lock_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
