// slat bench dirty-log: what it costs to know which pages a guest writes. A new guest in each round: it populates its
// memory, writes all of it, has the log enabled, writes all of it again, and the log is read; on KVM KVM's own log, on the
// software vCPU that of slat's stage-2; and with slat's own tracking of writes (AddressSpace::track_writes), which works
// on both. After KVM's dirty_log_perf_test, whose lines these are.
#include "slat/bench.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"

#include <CLI/CLI.hpp>
#include <bit>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <memory>

namespace slat::tool {

namespace bench_dirty_log {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double hot_seconds = 0.05; // many rounds over the memory

struct Options {
  MachineOptions machine;
  BenchOptions bench;
};

/// How writes are seen.
enum class Log { stage2, tracked };

struct Cell {
  vmm::Accel accel;
  Log log;
  std::map<std::string, std::vector<double>> samples = {};

  [[nodiscard]] std::string name() const {
    return fmt::format("{}/{}", accel_name(accel),
                       log == Log::tracked        ? "track_writes"
                       : accel == vmm::Accel::kvm ? "kvm-log"
                                                  : "stage2-log");
  }
};

class Timer {
 public:
  /// Milliseconds since the last call, or since construction.
  double lap() {
    const auto now = Clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  Clock::time_point last_ = Clock::now();
};

vmm::Error from(const mmu::Error& error) {
  return {vmm::Errc::host_failed, error.os_error, error.message};
}

vmm::Result<void> enable(vmm::Machine& machine, Log log) {
  if (log == Log::stage2) return machine.accelerator().log_dirty();
  for (const vmm::GuestRam::Region& region : machine.ram().regions())
    if (auto ok = machine.ram().mm().track_writes(region.guest_view, region.gpa.size); !ok)
      return tl::unexpected(from(ok.error()));
  return {};
}

/// Pages that have been written since, as the log says.
vmm::Result<std::uint64_t> read(vmm::Machine& machine, Log log) {
  std::uint64_t written = 0;
  const auto regions = machine.ram().regions();
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const std::uint64_t pages = regions[i].gpa.size >> mmu::page_shift;
    if (log == Log::tracked) {
      std::array<std::byte, mmu::page_size> page{};
      const std::uintptr_t view = regions[i].guest_view;
      for (std::uint64_t n = 0; n < pages; ++n)
        if (!machine.ram().mm().read_unwritten(view + (n << mmu::page_shift), page)) ++written;
    } else {
      std::vector<std::uint64_t> bits((pages + 63) / 64);
      if (auto ok = machine.accelerator().read_dirty(i, bits); !ok) return vmm::forward(ok);
      for (const std::uint64_t word : bits) written += unsigned(std::popcount(word));
    }
  }
  return written;
}

vmm::Result<void> round_of(const Options& options, Cell& cell, bool keep) {
  Cell scratch{cell.accel, cell.log};
  auto& samples = keep ? cell.samples : scratch.samples;
  Timer timer;
  auto started = BenchGuest::start(options.machine, cell.accel, options.machine.design());
  if (!started) return vmm::forward(started);
  BenchGuest& guest = **started;
  vmm::Machine& machine = guest.machine();
  if (auto ok = guest.wait_until_populated(); !ok) return ok;
  samples["populate memory (ms)"].push_back(timer.lap());
  if (auto ok = guest.set_writing(true); !ok) return ok;
  auto rate = guest.visits_per_second(hot_seconds);
  if (!rate) return vmm::forward(rate);
  samples["write memory, no log (ms)"].push_back(double(guest.pages()) / *rate * 1000);
  (void)timer.lap();
  if (auto ok = enable(machine, cell.log); !ok) return ok;
  samples["enable the log (ms)"].push_back(timer.lap());
  auto first = guest.touch_all();
  if (!first) return vmm::forward(first);
  samples["write memory, logged (ms)"].push_back(*first * 1000);
  guest.pause(); // so that what is read is what was written before
  (void)timer.lap();
  auto written = read(machine, cell.log);
  if (!written) return vmm::forward(written);
  samples["read the log (ms)"].push_back(timer.lap());
  samples["pages written, of those touched"].push_back(double(*written) / double(guest.pages()));
  if (cell.log == Log::tracked) {
    for (const vmm::GuestRam::Region& region : machine.ram().regions())
      if (auto ok = machine.ram().mm().untrack_writes(region.guest_view, region.gpa.size); !ok)
        return tl::unexpected(from(ok.error()));
    samples["disable the log (ms)"].push_back(timer.lap());
  }
  return {};
}

int measure(const Options& options, BenchReport& out) {
  auto accelerators = bench_accelerators(options.machine);
  if (!accelerators) return report(accelerators.error());
  out.options = {{"memory", options.machine.memory},
                 {"cpus", options.machine.cpus},
                 {"vma_lock", options.machine.vma_lock}};
  std::vector<Cell> cells;
  for (const vmm::Accel accel : *accelerators) {
    cells.push_back({accel, Log::stage2});
    cells.push_back({accel, Log::tracked});
  }
  const auto ok =
      measure_rounds({.measured = options.bench.rounds}, cells,
                     [&](Cell& cell, bool keep) { return round_of(options, cell, keep); });
  for (const Cell& cell : cells) {
    const std::string prefix = cell.name() + "/";
    const Labels labels = {{"accel", accel_name(cell.accel)}};
    for (const auto& [name, values] : cell.samples)
      out.figures.push_back(
          {prefix + name, name.ends_with("(ms)") ? "ms" : "share", values, labels});
    out.add_ratio(prefix + "logged:no log", prefix + "write memory, logged (ms)",
                  prefix + "write memory, no log (ms)", Better::lower, {}, labels);
  }
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_dirty_log

void add_bench_dirty_log(CLI::App& bench, Command& run) {
  using namespace bench_dirty_log;
  auto options = std::make_shared<Options>();
  options->machine.memory = "size=128M";
  CLI::App* const command =
      bench.add_subcommand("dirty-log", "What it costs to know which pages a guest writes");
  options->bench.add_to(*command);
  options->machine.add_guest_to(*command);
  options->machine.add_vma_lock_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
