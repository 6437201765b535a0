// slat bench uffd: how fast faults of a running guest are served. Each round takes all tested memory away from the
// guest and measures until it has touched every page again, in turn with
//   bare     poll, read, UFFDIO_CONTINUE of one page, and nothing else: what the kernel allows
//   single   slat's fault path without fault-around
//   around   slat's fault path with fault-around
// in one run on one guest. The order alternates from round to round, so that a drift of the machine cancels out.
#include "slat/bench.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"

#include <CLI/CLI.hpp>
#include <array>
#include <fmt/format.h>
#include <memory>

namespace slat::tool {

namespace bench_uffd {

namespace {

struct Options {
  MachineOptions machine;
  BenchOptions bench;
};

enum Variant : std::size_t { bare, single, around };

constexpr std::array<std::string_view, 3> variant_names = {"bare", "single", "around"};

struct Samples {
  std::array<std::vector<double>, 3> rates, faults;
};

vmm::Result<void> measure_one(BenchGuest& guest, const Options& options, Variant variant, bool keep,
                              Samples& samples) {
  vmm::FaultService& service = *guest.machine().accelerator().fault_service();
  const auto faults = [&] { return service.fault_latency_ns().count() + service.bare_count(); };
  service.set_bare(variant == bare);
  service.set_around(variant == around ? options.machine.fault_around : 1);
  if (auto ok = guest.zap_all(); !ok) return ok;
  const std::uint64_t before = faults();
  auto seconds = guest.touch_all();
  if (!seconds) return vmm::forward(seconds);
  if (!keep) return {};
  samples.rates[variant].push_back(double(guest.pages()) / *seconds);
  samples.faults[variant].push_back(double(faults() - before));
  return {};
}

vmm::Result<void> measure_guest(const Options& options, Samples& samples) {
  auto guest = BenchGuest::start(options.machine, vmm::Accel::kvm, options.machine.design());
  if (!guest) return vmm::forward(guest);
  if (auto ok = (*guest)->wait_until_populated(); !ok) return ok;
  return measure_rounds(
      {.measured = options.bench.rounds}, variant_names.size(),
      [](std::size_t variant) { return std::string(variant_names[variant]); },
      [&](std::size_t variant, bool keep) {
        return measure_one(**guest, options, Variant(variant), keep, samples);
      });
}

int measure(const Options& options, BenchReport& out) {
  if (options.machine.accel == "soft")
    return report({vmm::Errc::invalid_argument, 0,
                   "bench uffd: --accel soft has no userfaultfd to measure; use --accel kvm"});
  out.options = {{"memory", options.machine.memory},
                 {"cpus", options.machine.cpus},
                 {"fault_around", options.machine.fault_around}};
  Samples samples;
  const auto ok = measure_guest(options, samples);
  for (std::size_t v = 0; v < variant_names.size(); ++v) {
    const std::string name(variant_names[v]);
    if (samples.rates[v].empty()) continue;
    out.figures.push_back({name, "pages/s", samples.rates[v], {{"service", name}}});
    out.figures.push_back(
        {name + "/faults", "faults a round", samples.faults[v], {{"service", name}}});
  }
  out.add_ratio("single:bare", "single", "bare", Better::higher, 0.95);
  out.add_ratio("around:bare", "around", "bare", Better::higher, 4);
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_uffd

void add_bench_uffd(CLI::App& bench, Command& run) {
  using namespace bench_uffd;
  auto options = std::make_shared<Options>();
  options->machine.memory = "size=64M";
  options->bench.rounds = 7;
  CLI::App* const command = bench.add_subcommand(
      "uffd", "Fault service of a live guest against a bare poll-read-continue loop");
  options->bench.add_to(*command);
  options->machine.add_guest_to(*command);
  options->machine.add_vma_lock_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
