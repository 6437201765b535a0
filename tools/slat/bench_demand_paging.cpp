// slat bench demand-paging: how long guests take to touch all of their memory, page by page, where none of it is in
// their stage-2. After KVM's demand_paging_test, whose -u, -v and -b are --uffd-mode, --cpus and --memory here.
//   minor    the host has the pages: a fault maps one
//   missing  nobody has them: a fault makes one; a new guest each time, so its start counts too
// In each round each design faults pages in one by one and with fault-around, on each accelerator, in alternating order.
#include "slat/bench.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <fmt/format.h>
#include <memory>

namespace slat::tool {

namespace bench_demand_paging {

namespace {

struct Options {
  MachineOptions machine;
  BenchOptions bench;
  std::string mode = "minor";
};

struct Cell {
  vmm::Accel accel;
  mmu::VmaLockDesign design;
  std::uint32_t around;
  std::unique_ptr<BenchGuest> guest = {}; // minor: kept, and out of the guest while others run
  std::vector<double> seconds = {}, rates = {};

  [[nodiscard]] std::string name() const { return name_with(mmu::to_string(design), around); }

  [[nodiscard]] std::string name_with(std::string_view design_name, std::uint32_t pages) const {
    return fmt::format("{}/{}/around-{}", accel_name(accel), design_name, pages);
  }
};

vmm::Result<void> start(const Options& options, Cell& cell) {
  MachineOptions machine = options.machine;
  machine.fault_around = cell.around;
  auto guest = BenchGuest::start(machine, cell.accel, cell.design);
  if (!guest) return vmm::forward(guest);
  cell.guest = std::move(*guest);
  return cell.guest->wait_until_populated();
}

vmm::Result<double> minor(const Options& options, Cell& cell) {
  if (!cell.guest) {
    if (auto ok = start(options, cell); !ok) return vmm::forward(ok);
  } else {
    cell.guest->resume();
  }
  if (auto ok = cell.guest->zap_all(); !ok) return vmm::forward(ok);
  auto seconds = cell.guest->touch_all();
  cell.guest->pause();
  return seconds;
}

vmm::Result<double> missing(const Options& options, Cell& cell) {
  const auto begin = std::chrono::steady_clock::now();
  if (auto ok = start(options, cell); !ok) return vmm::forward(ok);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

vmm::Result<void> run_cell(const Options& options, Cell& cell, bool keep) {
  auto seconds = options.mode == "minor" ? minor(options, cell) : missing(options, cell);
  if (!seconds) return vmm::forward(seconds);
  const auto pages = double(cell.guest->pages());
  if (options.mode == "missing") cell.guest.reset();
  if (!keep) return {};
  cell.seconds.push_back(*seconds);
  cell.rates.push_back(pages / *seconds);
  return {};
}

void fill(const Options& options, const std::vector<Cell>& cells, BenchReport& out) {
  const std::uint32_t around = options.machine.fault_around;
  for (const Cell& cell : cells) {
    const std::string name = cell.name();
    const Labels labels = {{"accel", accel_name(cell.accel)},
                           {"design", mmu::to_string(cell.design)},
                           {"fault_around", cell.around}};
    if (cell.rates.empty()) continue;
    out.figures.push_back({name + "/time", "s", cell.seconds, labels});
    out.figures.push_back({name, "pages/s", cell.rates, labels});
  }
  for (const Cell& cell : cells) {
    const std::string name = cell.name();
    Labels labels = {{"accel", accel_name(cell.accel)},
                     {"design", mmu::to_string(cell.design)},
                     {"fault_around", cell.around}};
    if (cell.design != mmu::VmaLockDesign::mmap_lock)
      out.add_ratio(name + ":mmap-lock", name, cell.name_with("mmap-lock", cell.around),
                    Better::higher, {}, labels);
    if (cell.around != 1)
      out.add_ratio(name + ":around-1", name, cell.name_with(mmu::to_string(cell.design), 1),
                    Better::higher, {}, labels);
    if (cell.accel == vmm::Accel::soft && cell.around == around)
      out.add_ratio("kvm:" + name, fmt::format("kvm{}", name.substr(4)), name, Better::higher, {},
                    labels);
  }
}

int measure(const Options& options, BenchReport& out) {
  auto accelerators = bench_accelerators(options.machine);
  if (!accelerators) return report(accelerators.error());
  out.options = {{"memory", options.machine.memory},
                 {"cpus", options.machine.cpus},
                 {"uffd_mode", options.mode},
                 {"fault_threads", options.machine.fault_threads}};
  std::vector<Cell> cells;
  for (const vmm::Accel accel : *accelerators)
    for (const mmu::VmaLockDesign design : mmu::all_vma_lock_designs) {
      cells.push_back({accel, design, 1});
      if (options.machine.fault_around != 1)
        cells.push_back({accel, design, options.machine.fault_around});
    }
  const auto ok =
      measure_rounds({.measured = options.bench.rounds}, cells,
                     [&](Cell& cell, bool keep) { return run_cell(options, cell, keep); });
  fill(options, cells, out);
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_demand_paging

void add_bench_demand_paging(CLI::App& bench, Command& run) {
  using namespace bench_demand_paging;
  auto options = std::make_shared<Options>();
  options->machine.memory = "size=64M";
  CLI::App* const command = bench.add_subcommand(
      "demand-paging", "How fast guests touch memory that their stage-2 does not have");
  command
      ->add_option(
          "-u,--uffd-mode", options->mode,
          "minor: the host has the pages; missing: they are made on the way, in a new guest")
      ->capture_default_str()
      ->check(CLI::IsMember({"minor", "missing"}));
  options->bench.add_to(*command);
  options->machine.add_guest_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
