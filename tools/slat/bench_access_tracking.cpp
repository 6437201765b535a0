// slat bench access-tracking: what it costs to look which pages a guest uses. Each round times accesses of a guest to
// all of its memory (mean of many rounds, and one round) before and after the aging bits have been cleared (Advice::cold), reading and writing, and the
// clearing itself, beside madvise(MADV_COLD) of plain memory of the same size. After KVM's access_tracking_perf_test.
#include "slat/bench.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/bench_rounds.hpp"
#include "slat/plain_memory.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <sys/mman.h>

namespace slat::tool {

namespace bench_access_tracking {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double hot_seconds = 0.05; // many rounds over the memory

struct Options {
  MachineOptions machine;
  BenchOptions bench;
};

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

vmm::Result<double> mark_idle(BenchGuest& guest) {
  const auto start = Clock::now();
  for (const vmm::GuestRam::Region& region : guest.machine().ram().regions())
    if (auto ok = guest.machine().ram().mm().advise(region.guest_view, region.gpa.size,
                                                    mmu::Advice::cold);
        !ok)
      return vmm::fail(vmm::Errc::host_failed, ok.error().os_error, ok.error().message);
  return milliseconds_since(start);
}

using Samples = std::map<std::string, std::vector<double>>;

/// One step of a round, by its name.
vmm::Result<void> round_of(BenchGuest& guest, PlainMemory& plain, Samples& samples) {
  for (const bool write : {true, false}) {
    const std::string_view doing = write ? "write" : "read";
    if (auto ok = guest.set_writing(write); !ok) return ok;
    auto rate = guest.visits_per_second(hot_seconds);
    if (!rate) return vmm::forward(rate);
    auto marked = mark_idle(guest);
    if (!marked) return vmm::forward(marked);
    auto idle = guest.touch_all();
    if (!idle) return vmm::forward(idle);
    samples[fmt::format("{} populated", doing)].push_back(double(guest.pages()) / *rate * 1000);
    samples[fmt::format("{} idle", doing)].push_back(*idle * 1000);
    if (!write) samples["mark idle"].push_back(*marked);
  }
  plain.touch();
  const auto start = Clock::now();
  (void)madvise(plain.data(), plain.size(),
                MADV_COLD); // since Linux 5.4; older ones are quick about it
  samples["bare madvise"].push_back(milliseconds_since(start));
  return {};
}

vmm::Result<void> measure_guests(const Options& options,
                                 const std::vector<vmm::Accel>& accelerators,
                                 std::map<vmm::Accel, Samples>& samples) {
  std::map<vmm::Accel, std::unique_ptr<BenchGuest>> guests;
  for (const vmm::Accel accel : accelerators) {
    auto guest = BenchGuest::start(options.machine, accel, options.machine.design());
    if (!guest) return vmm::forward(guest);
    if (auto ok = (*guest)->wait_until_populated(); !ok) return ok;
    (*guest)->pause();
    guests[accel] = std::move(*guest);
  }
  PlainMemory plain(guests.begin()->second->machine().ram().size());
  return measure_rounds(
      {.measured = options.bench.rounds, .alternate = false}, accelerators.size(),
      [&](std::size_t cell) { return std::string(accel_name(accelerators[cell])); },
      [&](std::size_t cell, bool keep) {
        BenchGuest& guest = *guests[accelerators[cell]];
        Samples scratch;
        guest.resume();
        auto ok = round_of(guest, plain, keep ? samples[accelerators[cell]] : scratch);
        guest.pause();
        return ok;
      });
}

int measure(const Options& options, BenchReport& out) {
  auto accelerators = bench_accelerators(options.machine);
  if (!accelerators) return report(accelerators.error());
  out.options = {{"memory", options.machine.memory},
                 {"cpus", options.machine.cpus},
                 {"vma_lock", options.machine.vma_lock}};
  std::map<vmm::Accel, Samples> samples;
  const auto ok = measure_guests(options, *accelerators, samples);
  for (const auto& [accel, of_accel] : samples) {
    const std::string prefix = fmt::format("{}/", accel_name(accel));
    const Labels labels = {{"accel", accel_name(accel)}};
    for (const auto& [name, values] : of_accel)
      out.figures.push_back({prefix + name, "ms", values, labels});
    for (const std::string_view doing : {"write", "read"})
      out.add_ratio(fmt::format("{}{} idle:populated", prefix, doing),
                    fmt::format("{}{} idle", prefix, doing),
                    fmt::format("{}{} populated", prefix, doing), Better::lower, {}, labels);
    out.add_ratio(prefix + "mark idle:bare madvise", prefix + "mark idle", prefix + "bare madvise",
                  Better::lower, {}, labels);
  }
  return ok ? 0 : report(ok.error());
}

} // namespace
} // namespace bench_access_tracking

void add_bench_access_tracking(CLI::App& bench, Command& run) {
  using namespace bench_access_tracking;
  auto options = std::make_shared<Options>();
  CLI::App* const command = bench.add_subcommand(
      "access-tracking", "What it costs a guest, and the host, to look which pages are in use");
  options->bench.add_to(*command);
  options->machine.add_guest_to(*command);
  options->machine.add_vma_lock_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
