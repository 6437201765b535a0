// slat bench footprint: memory of the VMM beyond guest RAM, as `slat boot --stats` counts it (RssAnon + RssFile, at the
// end of a run that has touched all of the guest's memory), by RAM, by vCPUs and by design of VMA locks. A child a
// machine.
#include "slat/bench.hpp"
#include "slat/bench_child.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>

namespace slat::tool {

namespace bench_footprint {

namespace {

constexpr double goal_kib = 5120; // Firecracker's specification has 5 MiB for one vCPU and 128 MiB

struct Options {
  BenchOptions bench;
  std::string accel = "auto";
  std::string kvm_device = "/dev/kvm";
  std::vector<std::string> memory = {"128M", "32M", "512M"};
  std::vector<unsigned> vcpus = {1, 2, 4};
};

/// Without its end; what the guest has printed comes before.
std::string last_line(const std::string& output) {
  const std::size_t end = output.find_last_not_of('\n') + 1;
  const std::size_t before = output.rfind('\n', end == 0 ? 0 : end - 1);
  const std::size_t start = before == std::string::npos ? 0 : before + 1;
  return output.substr(start, end - start);
}

struct Cell {
  vmm::Accel accel;
  std::string memory;
  unsigned cpus;
  std::string design;
  std::vector<double> kib = {};

  [[nodiscard]] std::string name() const {
    return fmt::format("{}/{}/{} vCPU(s)/{}", accel_name(accel), memory, cpus, design);
  }
};

vmm::Result<void> run_cell(const Options& options, const ImageForChildren& image, Cell& cell) {
  auto run =
      run_slat({"boot", "--kernel", image.path(), "--cmdline", "mode=touch passes=1 shared=0 quiet",
                "--stats", "json", "--memory", "size=" + cell.memory, "--cpus",
                std::to_string(cell.cpus), "--accel", std::string(accel_name(cell.accel)),
                "--vma-lock", cell.design, "--kvm-device", options.kvm_device});
  if (!run) return vmm::forward(run);
  const Labels stats = Labels::parse(last_line(run->output), nullptr, false);
  if (run->exit_code != 0 || !stats.is_object() || !stats.contains("vmm_resident_bytes"))
    return vmm::fail(
        vmm::Errc::guest_crashed, 0,
        fmt::format("`slat boot` for {} ended with exit code {}", cell.name(), run->exit_code));
  cell.kib.push_back(stats["vmm_resident_bytes"].get<double>() / 1024);
  return {};
}

void fill(const std::vector<Cell>& cells, BenchReport& out) {
  for (const Cell& cell : cells) {
    if (cell.kib.empty()) continue;
    const Labels labels = {{"accel", accel_name(cell.accel)},
                           {"memory", cell.memory},
                           {"vcpus", cell.cpus},
                           {"design", cell.design}};
    out.figures.push_back({cell.name(), "KiB", cell.kib, labels});
    const Cell& first = *std::find_if(cells.begin(), cells.end(),
                                      [&](const Cell& c) { return c.accel == cell.accel; });
    if (&first != &cell) {
      out.add_ratio(cell.name() + ":first", cell.name(), first.name(), Better::lower, {}, labels);
      continue;
    }
    std::vector<double> to_goal;
    for (const double kib : cell.kib) to_goal.push_back(kib / goal_kib);
    out.ratios.push_back({cell.name() + ":5 MiB", to_goal, Better::lower, 1.0, labels});
  }
}

int measure(const Options& options, BenchReport& out) {
  MachineOptions machine;
  machine.accel = options.accel;
  machine.kvm_device = options.kvm_device;
  auto accelerators = bench_accelerators(machine);
  if (!accelerators) return report(accelerators.error());
  const ImageForChildren image;
  if (image.path().empty())
    return report({vmm::Errc::host_limit, 0, "cannot create a memfd for the guest's image"});
  const std::string first = std::string(mmu::to_string(mmu::VmaLockDesign::vma_refcount));
  std::vector<Cell> cells;
  for (const vmm::Accel accel : *accelerators) {
    for (const std::string& memory : options.memory)
      cells.push_back({accel, memory, options.vcpus.front(), first});
    for (const unsigned cpus : options.vcpus)
      if (cpus != options.vcpus.front())
        cells.push_back({accel, options.memory.front(), cpus, first});
    for (const mmu::VmaLockDesign design : mmu::all_vma_lock_designs)
      if (mmu::to_string(design) != first)
        cells.push_back({accel, options.memory.front(), options.vcpus.front(),
                         std::string(mmu::to_string(design))});
  }
  const auto ok =
      measure_rounds({.measured = options.bench.rounds, .warm_up = false, .alternate = false},
                     cells, [&](Cell& cell, bool) { return run_cell(options, image, cell); });
  fill(cells, out);
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_footprint

void add_bench_footprint(CLI::App& bench, Command& run) {
  using namespace bench_footprint;
  auto options = std::make_shared<Options>();
  options->bench.rounds = 3;
  CLI::App* const command = bench.add_subcommand("footprint", "Memory of the VMM beyond guest RAM");
  options->bench.add_to(*command);
  command->add_option("--memory", options->memory, "Sizes of guest RAM; the first is the reference")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--vcpus", options->vcpus, "Numbers of vCPUs; the first is the reference")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 60));
  command->add_option("--accel", options->accel, "Only this; auto: all that this host has")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "kvm", "soft"}));
  command->add_option("--kvm-device", options->kvm_device, "Path of the KVM device")
      ->type_name("PATH")
      ->capture_default_str();
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
