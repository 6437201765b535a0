// slat bench invalidate: how long the host waits until guest memory is out of every stage-2. The guest has touched all of
// its memory and is kept out meanwhile. Each round takes
//   whole    all of it away at once, by slat and, on KVM, by a bare madvise(MADV_DONTNEED) of the same guest view
//   1, 16, 512 pages   at random places, with further notifier subscribers and without
#include "slat/bench.hpp"
#include "slat/bench_guest.hpp"
#include "slat/bench_report.hpp"
#include "slat/progress.hpp"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <random>
#include <sys/mman.h>

namespace slat::tool {

namespace bench_invalidate {

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  MachineOptions machine;
  BenchOptions bench;
  unsigned subscribers = 16;
  unsigned ranges = 256;
};

constexpr std::uint64_t range_pages[] = {1, 16, 512};
constexpr std::uint64_t gib = std::uint64_t(1) << 30;
constexpr double soft_gib_goal_ms = 15; // a whole-range zap of a populated GiB

struct Idle final : mmu::Notifier {
  bool invalidate_range_start(const mmu::NotifierRange&) override { return true; }

  void invalidate_range_end(const mmu::NotifierRange&) override {}
};

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// One accelerator's guest.
class Bench {
 public:
  Bench(const Options& options, vmm::Accel accel) : options_(options), accel_(accel) {}

  vmm::Result<void> start() {
    MachineOptions machine = options_.machine;
    machine.fault_around = vmm::FaultAround::max_pages; // to have it populated soon
    auto guest = BenchGuest::start(machine, accel_, options_.machine.design());
    if (!guest) return vmm::forward(guest);
    guest_ = std::move(*guest);
    if (auto ok = guest_->wait_until_populated(); !ok) return ok;
    guest_->pause();
    return {};
  }

  vmm::Result<void> round(unsigned number, bool keep) {
    keep_ = keep;
    const bool bare_first = number % 2 == 1;
    if (accel_ == vmm::Accel::kvm && bare_first)
      if (auto ok = bare(); !ok) return ok;
    if (auto ok = whole(); !ok) return ok;
    if (accel_ == vmm::Accel::kvm && !bare_first)
      if (auto ok = bare(); !ok) return ok;
    for (const std::uint64_t pages : range_pages)
      for (const unsigned subscribers : {0u, options_.subscribers})
        if (auto ok = ranges(pages, subscribers); !ok) return ok;
    return {};
  }

  void fill(BenchReport& out) const {
    const std::string prefix = fmt::format("{}/", accel_name(accel_));
    const Labels labels = {{"accel", accel_name(accel_)}};
    for (const auto& [name, values] : samples_)
      out.figures.push_back(
          {prefix + name, name.starts_with("whole") ? "ms" : "us", values, labels});
    out.add_ratio(prefix + "whole:bare madvise", prefix + "whole", prefix + "whole, bare madvise",
                  Better::lower, 1.1, labels);
    for (const std::uint64_t pages : range_pages)
      out.add_ratio(
          fmt::format("{}{} pages, {} subscribers:none", prefix, pages, options_.subscribers),
          fmt::format("{}{} pages, {} subscribers", prefix, pages, options_.subscribers),
          fmt::format("{}{} pages, 0 subscribers", prefix, pages), Better::lower, {}, labels);
    const auto whole = samples_.find("whole");
    if (accel_ != vmm::Accel::soft || whole == samples_.end()) return;
    std::vector<double> to_goal;
    for (const double ms : whole->second)
      to_goal.push_back(ms * double(gib) / double(guest_->machine().ram().size()) /
                        soft_gib_goal_ms);
    out.ratios.push_back({prefix + "whole, of a GiB:15 ms", to_goal, Better::lower, 1.0, labels});
  }

 private:
  void add(const std::string& name, double value) {
    if (keep_) samples_[name].push_back(value);
  }

  /// All of the memory mapped by the guest's accesses.
  vmm::Result<void> populate() {
    guest_->resume();
    auto seconds = guest_->touch_all();
    guest_->pause();
    if (!seconds) return vmm::forward(seconds);
    return {};
  }

  vmm::Result<void> whole() {
    if (auto ok = populate(); !ok) return ok;
    const auto start = Clock::now();
    if (auto ok = guest_->zap_all(); !ok) return ok;
    add("whole", milliseconds_since(start));
    return {};
  }

  /// The same without slat, which finds its page words ahead of the page tables then, as after any race of two faults.
  vmm::Result<void> bare() {
    if (auto ok = populate(); !ok) return ok;
    const auto start = Clock::now();
    for (const vmm::GuestRam::Region& region : guest_->machine().ram().regions())
      if (madvise(reinterpret_cast<void*>(std::uintptr_t(region.guest_view)), region.gpa.size,
                  MADV_DONTNEED) != 0)
        return vmm::fail(vmm::Errc::host_failed, errno, "madvise of the guest view failed");
    add("whole, bare madvise", milliseconds_since(start));
    return {};
  }

  vmm::Result<void> ranges(std::uint64_t pages, unsigned subscribers) {
    if (auto ok = populate(); !ok) return ok;
    mmu::AddressSpace& mm = guest_->machine().ram().mm();
    const vmm::GuestRam::Region& region = guest_->machine().ram().regions()[0];
    const std::uint64_t bytes = pages << mmu::page_shift;
    if (region.gpa.size < bytes) return {};
    std::vector<Idle> idle(subscribers);
    for (Idle& subscriber : idle) (void)mm.notifiers().register_notifier(subscriber);
    std::uniform_int_distribution<std::uint64_t> place(0, region.gpa.size / bytes - 1);
    vmm::Result<void> result;
    const auto start = Clock::now();
    for (unsigned i = 0; i < options_.ranges && result; ++i)
      if (auto ok =
              mm.advise(region.guest_view + place(random_) * bytes, bytes, mmu::Advice::dontneed);
          !ok)
        result = vmm::fail(vmm::Errc::host_failed, ok.error().os_error, ok.error().message);
    const double us = milliseconds_since(start) * 1000 / options_.ranges;
    for (Idle& subscriber : idle) mm.notifiers().unregister_notifier(subscriber);
    if (result) add(fmt::format("{} pages, {} subscribers", pages, subscribers), us);
    return result;
  }

  const Options& options_;
  const vmm::Accel accel_;
  std::unique_ptr<BenchGuest> guest_;
  std::mt19937_64 random_{1};
  std::map<std::string, std::vector<double>> samples_;
  bool keep_ = false;
};

int measure(const Options& options, BenchReport& out) {
  auto accelerators = bench_accelerators(options.machine);
  if (!accelerators) return report(accelerators.error());
  out.options = {{"memory", options.machine.memory},
                 {"cpus", options.machine.cpus},
                 {"subscribers", options.subscribers},
                 {"vma_lock", options.machine.vma_lock}};
  vmm::Result<void> result;
  for (const vmm::Accel accel : *accelerators) { // one after the other: each may want much memory
    Bench bench(options, accel);
    result = bench.start();
    Progress progress;
    for (unsigned round = 0; result && round <= options.bench.rounds; ++round) {
      progress.show(
          fmt::format("{}: round {} of {}", accel_name(accel), round, options.bench.rounds));
      result = bench.round(round, round != 0); // round 0 warms up
    }
    bench.fill(out);
    if (!result) break;
  }
  return result ? 0 : report(result.error());
}

} // namespace
} // namespace bench_invalidate

void add_bench_invalidate(CLI::App& bench, Command& run) {
  using namespace bench_invalidate;
  auto options = std::make_shared<Options>();
  options->machine.memory = "size=1G";
  CLI::App* const command = bench.add_subcommand(
      "invalidate", "How long it takes until memory is out of a guest's reach");
  options->bench.add_to(*command);
  command->add_option("--subscribers", options->subscribers, "Further notifier subscribers")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--ranges", options->ranges, "Ranges of each size, in a round")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  options->machine.add_guest_to(*command);
  options->machine.add_vma_lock_to(*command);
  add_benchmark(*command, run, options, measure);
}

} // namespace slat::tool
