// slat bench demand-paging: how long guests take to touch all of their memory, page by page, where none of it is in
// their stage-2. After KVM's demand_paging_test, whose -u, -d, -s and -o are --uffd-mode, --delay, --backing and --overlap
// here, and whose -v and -b are --cpus and --memory.
//   minor    the host has the pages: a fault maps one
//   missing  nobody has them: a fault makes one; a new guest each time, so its start counts too
// In each round each design faults pages in one by one and with fault-around, on each accelerator, in alternating order.
#include "slat/bench.hpp"
#include "slat/bench_backing.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
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
  unsigned delay_us = 0;
  std::vector<std::string> backings = {std::string(shmem_backing)};
  bool overlap = false;
};

struct Cell {
  vmm::Accel accel;
  mmu::VmaLockDesign design;
  std::uint32_t around;
  std::string backing;
  std::unique_ptr<BenchGuest> guest = {}; // minor: kept, and out of the guest while others run
  std::vector<double> seconds = {}, rates = {}, faults = {}, huge_kib = {};

  [[nodiscard]] std::string name() const {
    return name_with(mmu::to_string(design), around, backing);
  }

  [[nodiscard]] std::string name_with(std::string_view design_name, std::uint32_t pages,
                                      std::string_view of_backing) const {
    return fmt::format("{}/{}/around-{}{}{}", accel_name(accel), design_name, pages,
                       of_backing == shmem_backing ? "" : "/",
                       of_backing == shmem_backing ? "" : of_backing);
  }

  [[nodiscard]] Labels labels() const {
    return {{"accel", accel_name(accel)},
            {"design", mmu::to_string(design)},
            {"fault_around", around},
            {"backing", backing}};
  }
};

vmm::Result<void> start(const Options& options, Cell& cell) {
  MachineOptions machine = options.machine;
  machine.fault_around = cell.around;
  auto guest = BenchGuest::start(machine, cell.accel, cell.design,
                                 {.overlap = options.overlap,
                                  .fault_delay = std::chrono::microseconds(options.delay_us),
                                  .backing = cell.backing});
  if (!guest) return vmm::forward(guest);
  cell.guest = std::move(*guest);
  return cell.guest->wait_until_populated();
}

/// Of one cell and round.
struct Found {
  double seconds;
  std::uint64_t faults;
};

std::uint64_t fault_count(const Cell& cell) {
  return cell.guest->machine().accelerator().fault_count();
}

vmm::Result<Found> minor(const Options& options, Cell& cell) {
  if (!cell.guest) {
    if (auto ok = start(options, cell); !ok) return vmm::forward(ok);
  } else {
    cell.guest->resume();
  }
  if (auto ok = cell.guest->zap_all(); !ok) return vmm::forward(ok);
  const std::uint64_t before = fault_count(cell);
  auto seconds = cell.guest->touch_all();
  const std::uint64_t after = fault_count(cell);
  cell.guest->pause();
  if (!seconds) return vmm::forward(seconds);
  return Found{*seconds, after - before};
}

vmm::Result<Found> missing(const Options& options, Cell& cell) {
  const auto begin = std::chrono::steady_clock::now();
  if (auto ok = start(options, cell); !ok) return vmm::forward(ok);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return Found{seconds.count(), fault_count(cell)};
}

vmm::Result<void> run_cell(const Options& options, Cell& cell, bool keep) {
  auto found = options.mode == "minor" ? minor(options, cell) : missing(options, cell);
  if (!found) return vmm::forward(found);
  const auto pages = double(cell.guest->pages());
  const auto huge = cell.backing == shmem_backing ? 0. : double(huge_kib(cell.guest->machine()));
  if (options.mode == "missing") cell.guest.reset();
  if (!keep) return {};
  cell.seconds.push_back(found->seconds);
  cell.rates.push_back(pages / found->seconds);
  cell.faults.push_back(double(found->faults));
  if (cell.backing != shmem_backing) cell.huge_kib.push_back(huge);
  return {};
}

void fill(const Options& options, const std::vector<Cell>& cells, BenchReport& out) {
  const std::uint32_t around = options.machine.fault_around;
  for (const Cell& cell : cells) {
    const std::string name = cell.name();
    if (cell.rates.empty()) continue;
    out.figures.push_back({name + "/time", "s", cell.seconds, cell.labels()});
    out.figures.push_back({name, "pages/s", cell.rates, cell.labels()});
    out.figures.push_back({name + "/faults", "faults a round", cell.faults, cell.labels()});
    if (!cell.huge_kib.empty())
      out.figures.push_back({name + "/huge pages", "KiB", cell.huge_kib, cell.labels()});
  }
  for (const Cell& cell : cells) {
    const std::string name = cell.name();
    const Labels labels = cell.labels();
    if (cell.design != mmu::VmaLockDesign::mmap_lock)
      out.add_ratio(name + ":mmap-lock", name,
                    cell.name_with("mmap-lock", cell.around, cell.backing), Better::higher, {},
                    labels);
    if (cell.around != 1)
      out.add_ratio(name + ":around-1", name,
                    cell.name_with(mmu::to_string(cell.design), 1, cell.backing), Better::higher,
                    {}, labels);
    if (cell.backing != shmem_backing)
      out.add_ratio(name + ":shmem", name,
                    cell.name_with(mmu::to_string(cell.design), cell.around, shmem_backing),
                    Better::higher, {}, labels);
    if (cell.accel == vmm::Accel::soft && cell.around == around)
      out.add_ratio("kvm:" + name, fmt::format("kvm{}", name.substr(4)), name, Better::higher, {},
                    labels);
  }
}

/// Those that this host has, once each; the user is told of the others.
vmm::Result<std::vector<std::string>> available_backings(const Options& options) {
  std::vector<std::string> there;
  for (const std::string& backing : options.backings) {
    if (std::ranges::find(there, backing) != there.end()) continue;
    const std::string lack = lack_of_backing(backing);
    if (lack.empty())
      there.push_back(backing);
    else if (options.backings.size() == 1)
      return vmm::fail(vmm::Errc::host_unavailable, 0,
                       fmt::format("bench demand-paging: --backing {}: {}", backing, lack));
    else
      fmt::print(stderr, "slat: bench demand-paging: --backing {} is skipped: {}\n", backing, lack);
  }
  if (there.empty())
    return vmm::fail(
        vmm::Errc::host_unavailable, 0,
        "bench demand-paging: this host has none of the --backing; shmem always works");
  return there;
}

int measure(const Options& options, BenchReport& out) {
  const auto backings = available_backings(options);
  if (!backings) return report(backings.error());
  auto accelerators = bench_accelerators(options.machine);
  if (!accelerators) return report(accelerators.error());
  out.options = {{"memory", options.machine.memory},
                 {"cpus", options.machine.cpus},
                 {"uffd_mode", options.mode},
                 {"delay_us", options.delay_us},
                 {"backing", *backings},
                 {"overlap", options.overlap},
                 {"fault_threads", options.machine.fault_threads}};
  std::vector<Cell> cells;
  for (const vmm::Accel accel : *accelerators)
    for (const mmu::VmaLockDesign design : mmu::all_vma_lock_designs) {
      for (const std::string& backing : *backings) {
        cells.push_back({accel, design, 1, backing});
        if (options.machine.fault_around != 1)
          cells.push_back({accel, design, options.machine.fault_around, backing});
      }
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
  command
      ->add_option("-d,--delay", options->delay_us,
                   "Microseconds before each fault is resolved, as if pages came from far away")
      ->type_name("USEC")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  command
      ->add_option(
          "-s,--backing", options->backings,
          "What guest RAM is made of: shmem, shmem_thp (with huge pages), or both in turn; "
          "what the host lacks is skipped")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::IsMember(all_backings()));
  command->add_flag("-o,--overlap", options->overlap,
                    "Each vCPU touches all of the memory, and not a part of its own");
  options->bench.add_to(*command);
  options->machine.add_guest_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
