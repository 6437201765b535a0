// slat bench uffd: how fast faults of a running guest are served. Each round takes all tested memory away from the
// guest and measures until it has touched every page again, in turn with
//   bare     poll, read, UFFDIO_CONTINUE of one page, and nothing else: what the kernel allows
//   single   slat's fault path without fault-around
//   around   slat's fault path with fault-around
// in one run on one guest. The order alternates from round to round, so that a drift of the machine cancels out.
#include "guests/abi.hpp"
#include "guests/builtin.hpp"
#include "slat/bench.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/mailbox.hpp"
#include "slat/progress.hpp"
#include "slat/run.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  MachineOptions machine;
  unsigned rounds = 7;
  bool json = false;
};

enum Variant : std::size_t { bare, single, around };

constexpr std::array<std::string_view, 3> variant_names = {"bare", "single", "around"};

struct Sample {
  double pages_per_second;
  double faults;
};

/// Sums over the vCPUs.
std::uint64_t pages_touched(const guest::Mailbox& mailbox) {
  std::uint64_t sum = 0;
  for (const guest::VcpuSlot& slot : mailbox.slots) sum += slot.pages;
  return sum;
}

class Bench {
 public:
  Bench(vmm::Machine& machine, const Options& options, std::atomic<bool>& stop)
      : machine_(machine), options_(options), stop_(stop) {}

  /// False if the guest ended, or the user did it, before all rounds were done.
  bool run() {
    do
      if (!pause() || !look()) return false;
    while (mailbox_.state != std::uint32_t(guest::GuestState::running));
    Progress progress;
    for (unsigned round = 0; round <= options_.rounds; ++round) { // round 0 warms up
      for (std::size_t turn = 0; turn < variant_names.size(); ++turn) {
        const auto variant = Variant(round % 2 == 0 ? turn : variant_names.size() - 1 - turn);
        progress.show(
            fmt::format("round {} of {}: {}", round, options_.rounds, variant_names[variant]));
        Sample sample{};
        if (!measure(variant, sample)) return false;
        if (round != 0) samples[variant].push_back(sample);
      }
    }
    return true;
  }

  std::array<std::vector<Sample>, 3> samples;

 private:
  bool pause() {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    return !stop_.load(std::memory_order_relaxed); // only a wish
  }

  [[nodiscard]] vmm::FaultService& service() { return *machine_.accelerator().fault_service(); }

  /// Takes a new sample of the mailbox.
  bool look() {
    auto sample = sample_mailbox(machine_);
    if (!sample) {
      fmt::print(stderr, "slat: {}\n", sample.error().message);
      return false;
    }
    mailbox_ = *sample;
    return true;
  }

  [[nodiscard]] std::uint64_t faults() {
    return service().fault_latency_ns().count() + service().bare_count();
  }

  bool measure(Variant variant, Sample& sample) {
    service().set_bare(variant == bare);
    service().set_around(variant == around ? options_.machine.fault_around : 1);
    for (const vmm::GuestRam::Region& region : machine_.ram().regions())
      if (auto ok =
              machine_.ram().mm().advise(region.guest_view, region.gpa.size, mmu::Advice::dontneed);
          !ok) {
        fmt::print(stderr, "slat: {}\n", ok.error().message);
        return false;
      }
    if (!look()) return false;
    const std::uint64_t goal = mailbox_.tested_pages;
    const std::uint64_t pages_before = pages_touched(mailbox_);
    const std::uint64_t faults_before = faults();
    const auto start = Clock::now();
    // The guest goes round and round: once it has touched as many pages as there are, all are back.
    while (pages_touched(mailbox_) - pages_before < goal)
      if (!pause() || !look()) return false;
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    sample = {double(goal) / seconds, double(faults() - faults_before)};
    return true;
  }

  vmm::Machine& machine_;
  guest::Mailbox mailbox_{}; // the last sample
  const Options& options_;
  std::atomic<bool>& stop_;
};

std::vector<double> rates(const std::vector<Sample>& samples) {
  std::vector<double> values;
  for (const Sample& sample : samples) values.push_back(sample.pages_per_second);
  return values;
}

/// Round by round against bare.
std::vector<double> ratios(const std::vector<Sample>& samples, const std::vector<Sample>& base) {
  std::vector<double> values;
  for (std::size_t i = 0; i < samples.size(); ++i)
    values.push_back(samples[i].pages_per_second / base[i].pages_per_second);
  return values;
}

void print(const Options& options, const Bench& bench) {
  nlohmann::ordered_json json;
  if (!options.json)
    fmt::print("{:<8} {:>14} {:>14} {:>14}   {}\n", "", "pages/s median", "faults median",
               "ratio to bare", "min .. max");
  for (std::size_t v = 0; v < variant_names.size(); ++v) {
    const std::vector<double> ratio = ratios(bench.samples[v], bench.samples[bare]);
    std::vector<double> faults;
    for (const Sample& sample : bench.samples[v]) faults.push_back(sample.faults);
    const auto [low, high] = std::minmax_element(ratio.begin(), ratio.end());
    if (options.json)
      json[std::string(variant_names[v])] = {{"pages_per_second", median(rates(bench.samples[v]))},
                                             {"faults", median(faults)},
                                             {"ratio_to_bare", median(ratio)},
                                             {"ratio_min", *low},
                                             {"ratio_max", *high}};
    else
      fmt::print("{:<8} {:>14.0f} {:>14.0f} {:>14.2f}   {:.2f} .. {:.2f}\n", variant_names[v],
                 median(rates(bench.samples[v])), median(faults), median(ratio), *low, *high);
  }
  if (options.json) fmt::print("{}\n", json.dump());
}

int run_bench(const Options& options) {
  auto config = options.machine.config();
  if (!config) return report(config.error());
  if (config->accel == vmm::Accel::soft)
    return report({vmm::Errc::invalid_argument, 0,
                   "bench uffd: --accel soft has no userfaultfd to measure; use --accel kvm"});
  config->accel = vmm::Accel::kvm;
  config->kernel = vmm::BuiltinImage{guest::builtin_memstress(), "built-in memstress"};
  config->command_line = "mode=touch order=seq shared=0 quiet";
  config->serial = write_stdout;
  auto machine = make_machine(std::move(*config));
  if (!machine) return report(machine.error());
  if (!options.json)
    fmt::print(
        "slat bench uffd: {} vCPU(s), {} of RAM, {} round(s), sequential access, fault-around {}\n",
        options.machine.cpus, options.machine.memory, options.rounds, options.machine.fault_around);
  std::atomic<bool> stop{false};
  Bench bench(**machine, options, stop);
  bool complete = false;
  std::thread worker([&] {
    // It zaps and shows its progress, which the main thread could do as well.
    if (auto ok = vmm::enter_sandbox(vmm::ThreadKind::main, (*machine)->config().seccomp); !ok)
      fmt::print(stderr, "slat: {}\n", ok.error().message);
    else
      complete = bench.run();
    (*machine)->request_stop();
  });
  auto result = run_machine(**machine, std::chrono::milliseconds(100), [] {});
  stop.store(true, std::memory_order_relaxed); // only a wish
  worker.join();
  if (!result) return report(result.error());
  if (result->signal) {
    fmt::print(stderr, "slat: bench uffd: interrupted, nothing to report\n");
    return 128 + *result->signal;
  }
  if (!complete) {
    fmt::print(stderr, "slat: the guest ended before the benchmark\n{}", result->end.report);
    return exit_guest_crashed;
  }
  print(options, bench);
  return exit_success;
}

} // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void add_bench_uffd(CLI::App& bench, Command& run) {
  auto options = std::make_shared<Options>();
  options->machine.memory = "size=64M";
  CLI::App* const command = bench.add_subcommand(
      "uffd", "Fault service of a live guest against a bare poll-read-continue loop");
  command->add_option("--rounds", options->rounds, "Measured rounds of each variant")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "One JSON object");
  options->machine.add_to(*command);
  command->callback([options, &run] { run = [options] { return run_bench(*options); }; });
}

} // namespace slat::tool
