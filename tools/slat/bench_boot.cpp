// slat bench boot: from the start of the process to the first byte that the guest writes to its serial port, and to the
// end of the process. Children in turn: each accelerator with filters and without, and `slat --version`, which is what a
// start of this program costs before it does anything.
#include "slat/bench.hpp"
#include "slat/bench_child.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>

namespace slat::tool {

namespace bench_boot {

namespace {

struct Options {
  MachineOptions machine;
  BenchOptions bench;
};

struct Cell {
  std::string boot;
  std::vector<std::string> arguments;
  std::vector<double> first = {}, end = {};

  [[nodiscard]] const std::string& name() const { return boot; }
};

std::vector<std::string> boot_arguments(const Options& options, const std::string& image,
                                        vmm::Accel accel, const char* seccomp) {
  return {"boot",
          "--kernel",
          image,
          "--cmdline",
          "mib=1 passes=1 shared=0",
          "--memory",
          options.machine.memory,
          "--cpus",
          std::to_string(options.machine.cpus),
          "--accel",
          std::string(accel_name(accel)),
          "--kvm-device",
          options.machine.kvm_device,
          "--vma-lock",
          options.machine.vma_lock,
          "--seccomp",
          seccomp};
}

vmm::Result<void> run_cell(Cell& cell, bool keep) {
  auto run = run_slat(cell.arguments);
  if (!run) return vmm::forward(run);
  if (run->exit_code != 0)
    return vmm::fail(vmm::Errc::guest_crashed, 0,
                     fmt::format("`slat {}` ended with exit code {}",
                                 fmt::join(cell.arguments, " "), run->exit_code));
  if (!keep) return {};
  cell.first.push_back(run->first_byte_ms);
  cell.end.push_back(run->end_ms);
  return {};
}

int measure(const Options& options, BenchReport& out) {
  auto accelerators = bench_accelerators(options.machine);
  if (!accelerators) return report(accelerators.error());
  const ImageForChildren image;
  if (image.path().empty())
    return report({vmm::Errc::host_limit, 0, "cannot create a memfd for the guest's image"});
  out.options = {{"memory", options.machine.memory}, {"cpus", options.machine.cpus}};
  std::vector<Cell> cells = {{"process", {"--version"}}};
  for (const vmm::Accel accel : *accelerators) {
    const std::string name(accel_name(accel));
    cells.push_back({name, boot_arguments(options, image.path(), accel, "on")});
    cells.push_back({name + ", no seccomp", boot_arguments(options, image.path(), accel, "off")});
  }
  const auto ok = measure_rounds({.measured = options.bench.rounds}, cells, run_cell);
  for (const Cell& cell : cells) {
    if (cell.first.empty()) continue;
    out.figures.push_back({cell.boot + "/first byte", "ms", cell.first, {{"boot", cell.boot}}});
    out.figures.push_back({cell.boot + "/end", "ms", cell.end, {{"boot", cell.boot}}});
  }
  for (const vmm::Accel accel : *accelerators) {
    const std::string first = fmt::format("{}/first byte", accel_name(accel));
    out.add_ratio(first + ":process", first, "process/end", Better::lower);
    out.add_ratio(first + ":no seccomp", first,
                  fmt::format("{}, no seccomp/first byte", accel_name(accel)), Better::lower);
  }
  out.add_ratio("soft/first byte:kvm", "soft/first byte", "kvm/first byte", Better::lower);
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_boot

void add_bench_boot(CLI::App& bench, Command& run) {
  using namespace bench_boot;
  auto options = std::make_shared<Options>();
  options->machine.memory = "size=128M";
  options->bench.rounds = 11;
  CLI::App* const command =
      bench.add_subcommand("boot", "From the start of slat to the guest's first serial byte");
  options->bench.add_to(*command);
  options->machine.add_guest_to(*command);
  options->machine.add_vma_lock_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
