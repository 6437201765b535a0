// slat stress: the built-in memory-stress image, while the host takes its memory away. Ends in a verdict table.
#include "guests/abi.hpp"
#include "guests/builtin.hpp"
#include "slat/commands.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_control.hpp"
#include "slat/machine_options.hpp"
#include "slat/mailbox.hpp"
#include "slat/memory_digest.hpp"
#include "slat/progress.hpp"
#include "slat/recorder.hpp"
#include "slat/run.hpp"
#include "slat/stats.hpp"
#include "slat/storm_keeper.hpp"
#include "slat/storm_option.hpp"
#include "vmm/layout.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;

struct StressOptions {
  MachineOptions machine;
  std::uint64_t mib = 0;
  std::uint64_t seconds = 20;
  std::uint64_t passes = 0;
  std::string order = "mix";
  unsigned write_percent = 50;
  std::uint64_t stride = 512;
  std::uint64_t seed = 1;
  std::uint64_t shared = 16;
  std::string corrupt;
  std::string record;
  std::string storm;
  vmm::StormOptions storm_options;
};

/// What the guest has done so far, from its mailbox.
struct GuestProgress {
  std::uint64_t pages = 0, passes = 0, accesses = 0, verified = 0, mismatches = 0, discarded = 0;
};

GuestProgress read_progress(const guest::Mailbox& mailbox) {
  GuestProgress sum;
  for (const guest::VcpuSlot& slot : mailbox.slots) {
    sum.pages += slot.pages;
    sum.passes += slot.passes;
    sum.accesses += slot.accesses;
    sum.verified += slot.verified;
    sum.mismatches += slot.mismatches;
    sum.discarded += slot.discarded;
  }
  return sum;
}

std::string guest_command_line(const StressOptions& options) {
  std::string line =
      fmt::format("order={} write={} stride={} seed={} shared={}", options.order,
                  options.write_percent, options.stride, options.seed, options.shared);
  if (options.mib != 0) line += fmt::format(" mib={}", options.mib);
  if (options.passes != 0)
    line += fmt::format(" passes={}", options.passes);
  else
    line += fmt::format(" seconds={}", options.seconds);
  // Only then, so that the guest does the same with other storms as without one.
  if (asks_for(options.machine.possible_storms(options.storm), vmm::StormKind::discard))
    line += " discard";
  if (!options.corrupt.empty()) line += fmt::format(" corrupt={}", options.corrupt);
  return line;
}

std::string microseconds(std::uint64_t ns) {
  return fmt::format("{:.1f}", double(ns) / 1000.0);
}

/// The live line: pages touched, faults a second, fault latency, invalidations, errors.
class Watcher {
 public:
  Watcher(vmm::Machine& machine, std::uint64_t seconds)
      : machine_(machine), seconds_(seconds), start_(Clock::now()), last_(start_) {}

  void tick() {
    const auto now = Clock::now();
    const auto mailbox = sample_mailbox(machine_);
    if (!mailbox) return; // the guest will stumble over it too, and its end tells why
    const GuestProgress guest = read_progress(*mailbox);
    const std::uint64_t faults = machine_.accelerator().fault_count();
    const double interval = std::chrono::duration<double>(now - last_).count();
    const auto rate = interval > 0 ? std::uint64_t(double(faults - last_faults_) / interval) : 0;
    last_ = now;
    last_faults_ = faults;
    const mmu::Histogram latency = machine_.accelerator().fault_latency_ns();
    const auto elapsed =
        std::uint64_t(std::chrono::duration_cast<std::chrono::seconds>(now - start_).count());
    line_.show(
        fmt::format("{}{} s  {} pages  {} faults/s  p50 {} p99 {} us  {} inval  {} errors", elapsed,
                    seconds_ != 0 ? fmt::format("/{}", seconds_) : "", guest.pages, rate,
                    microseconds(latency.percentile(0.5)), microseconds(latency.percentile(0.99)),
                    machine_.counters().sum(mmu::Counter::invalidate_count), guest.mismatches));
  }

  void clear() { line_.clear(); }

  [[nodiscard]] double elapsed() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  vmm::Machine& machine_;
  const std::uint64_t seconds_;
  const Clock::time_point start_;
  Clock::time_point last_;
  std::uint64_t last_faults_ = 0;
  Progress line_;
};

std::string first_mismatch(const guest::Mailbox& mailbox) {
  const guest::MismatchRecord& record = mailbox.first_mismatch;
  if (record.valid != 1) return {};
  return fmt::format("  first mismatch: {} page at guest address {:#x}, offset {:#x}: expected "
                     "{:#018x}, found {:#018x},\n"
                     "                  vCPU {}, generation {} expected, {} found{}\n",
                     guest::to_string(guest::Kind(record.kind)), record.guest_address,
                     record.offset, record.expected, record.found, record.vcpu, record.generation,
                     record.found_generation,
                     record.transient != 0 ? "; gone on reading again" : "");
}

constexpr std::string_view mismatch_verdict =
    "FAIL: a page or counter did not hold what was written to it";

/// How a run ended, as far as it is to be judged.
struct Ending {
  RunResult result;
  bool shut_down; // by a request
  std::uint64_t mismatches;

  [[nodiscard]] bool by_request() const {
    return shut_down && result.end.reason == vmm::MachineEnd::Reason::stopped;
  }
};

std::string_view verdict_of(const Ending& ending) {
  const RunResult& result = ending.result;
  if (result.signal) return "INTERRUPTED";
  if (ending.by_request()) return ending.mismatches == 0 ? "SHUT DOWN" : mismatch_verdict;
  if (result.end.reason != vmm::MachineEnd::Reason::exited) return "CRASHED";
  switch (result.end.exit_code) {
  case guest::exit_good:
    return "PASS";
  case guest::exit_mismatch:
    return mismatch_verdict;
  case guest::exit_counters:
    return "FAIL: the shared counters do not add up";
  case guest::exit_parameter:
    return "REFUSED: see the guest's message";
  default:
    return "FAIL: the guest gave up, see its message";
  }
}

int exit_code_of(const Ending& ending) {
  const RunResult& result = ending.result;
  if (result.signal) return 128 + *result.signal;
  if (ending.by_request()) return ending.mismatches == 0 ? exit_success : exit_failed_verdict;
  if (result.end.reason == vmm::MachineEnd::Reason::halted) return exit_guest_halted;
  if (result.end.reason != vmm::MachineEnd::Reason::exited) return exit_guest_crashed;
  if (result.end.exit_code == guest::exit_parameter) return exit_usage;
  return result.end.exit_code == guest::exit_good ? exit_success : exit_failed_verdict;
}

std::string verdict_table(const StressOptions& options, vmm::Machine& machine,
                          const guest::Mailbox& mailbox, const Ending& ending, double elapsed,
                          const StormKeeper::Totals& storm) {
  const GuestProgress guest = read_progress(mailbox);
  const mmu::Counters& counters = machine.counters();
  const mmu::Histogram latency = machine.accelerator().fault_latency_ns();
  const auto sum = [&](mmu::Counter counter) { return counters.sum(counter); };
  std::string table = fmt::format("slat stress: {}\n", verdict_of(ending));
  const auto row = [&](std::string_view name, const std::string& value) {
    table += fmt::format("  {:<28} {:>20}\n", name, value);
  };
  row("accelerator", std::string(machine.accelerator().name()));
  row("vCPUs, guest RAM",
      fmt::format("{}, {}", machine.config().cpus, vmm::format_size(machine.config().memory)));
  row("storm", !options.storm.empty() ? options.storm
               : storm.storms != 0    ? "by the control socket"
                                      : "none");
  row("time (s)", fmt::format("{:.1f}", elapsed));
  row("page visits", std::to_string(guest.pages));
  row("pages verified", std::to_string(guest.verified));
  row("accesses", std::to_string(guest.accesses));
  if (const std::uint64_t instructions = machine.instructions(); instructions != 0)
    row("guest instructions, M/s",
        fmt::format("{}, {:.0f}", instructions, double(instructions) / elapsed / 1e6));
  row("faults served", std::to_string(machine.accelerator().fault_count()));
  row("pages installed", std::to_string(sum(mmu::Counter::installed_pages)));
  row("fault latency p50, p99 (us)", fmt::format("{}, {}", microseconds(latency.percentile(0.5)),
                                                 microseconds(latency.percentile(0.99))));
  row("retries, waits", fmt::format("{}, {}", sum(mmu::Counter::fault_retry_count),
                                    sum(mmu::Counter::fault_wait_count)));
  for (std::size_t i = 0; i < vmm::storm_kinds; ++i)
    if (storm.ranges[i] != 0)
      row(fmt::format("storm: {}", vmm::name(vmm::StormKind(i))), std::to_string(storm.ranges[i]));
  if (storm.of(vmm::StormKind::discard) != 0)
    row("pages discarded, read as zero",
        fmt::format("{}, {}", storm.discarded_pages, guest.discarded));
  if (storm.of(vmm::StormKind::migrate) != 0)
    row("pages migrated", std::to_string(sum(mmu::Counter::migrated_pages)));
  if (storm.of(vmm::StormKind::protect) != 0)
    row("pages tracked, written, not",
        fmt::format("{}, {}, {}", sum(mmu::Counter::write_tracked_pages),
                    sum(mmu::Counter::tracked_write_count), storm.unwritten_pages));
  if (const vmm::CompressedStore* const store = machine.ram().store()) {
    const vmm::CompressedStore::Stats kept = store->stats();
    row("pages reclaimed, restored", fmt::format("{}, {}", sum(mmu::Counter::reclaimed_pages),
                                                 sum(mmu::Counter::restored_pages)));
    row("compressed to, same-filled",
        kept.put_pages == 0
            ? "-"
            : fmt::format("{:.1f} %, {}",
                          100 * double(kept.put_bytes) / double(kept.put_pages << mmu::page_shift),
                          kept.same_filled));
    row("store was full", std::to_string(kept.full_count));
  }
  row("invalidations", std::to_string(sum(mmu::Counter::invalidate_count)));
  row("pages invalidated", std::to_string(sum(mmu::Counter::invalidated_pages)));
  row("VMM memory (KiB)", std::to_string(vmm_resident_bytes() / 1024));
  row("mismatches", std::to_string(guest.mismatches));
  table += first_mismatch(mailbox);
  if (!storm.error.empty()) table += fmt::format("  the storm ended early: {}\n", storm.error);
  return table;
}

/// What is told of a run beside its statistics.
struct RunFacts {
  double seconds;
  int exit_code;
  std::optional<std::uint64_t> digest;
};

nlohmann::ordered_json stats_of_run(vmm::Machine& machine, const guest::Mailbox& mailbox,
                                    const Ending& ending, const RunFacts& facts,
                                    const StormKeeper::Totals& storm) {
  nlohmann::ordered_json stats = collect_stats(machine);
  const GuestProgress guest = read_progress(mailbox);
  stats["verdict"] = std::string(verdict_of(ending));
  stats["exit_code"] = facts.exit_code;
  stats["seconds"] = facts.seconds;
  stats["page_visit_count"] = guest.pages;
  stats["verified_page_count"] = guest.verified;
  stats["access_count"] = guest.accesses;
  stats["mismatch_count"] = guest.mismatches;
  if (storm.storms != 0) {
    for (std::size_t i = 0; i < vmm::storm_kinds; ++i)
      stats["storm_ranges"][std::string(vmm::name(vmm::StormKind(i)))] = storm.ranges[i];
    stats["discarded_page_count"] = storm.discarded_pages;
    stats["discarded_page_read_count"] = guest.discarded;
    stats["unwritten_page_count"] = storm.unwritten_pages;
  }
  if (facts.digest) {
    stats["memory_digest"] = fmt::format("{:016x}", *facts.digest);
    stats["mailbox_digest"] = fmt::format("{:016x}", mailbox_digest(mailbox));
  }
  return stats;
}

nlohmann::ordered_json recording_head(const StressOptions& options) {
  nlohmann::ordered_json given{{"order", options.order},
                               {"write_percent", options.write_percent},
                               {"seed", options.seed},
                               {"shared_pages", options.shared}};
  if (options.mib != 0) given["mib"] = options.mib;
  if (options.passes != 0)
    given["passes"] = options.passes;
  else
    given["seconds"] = options.seconds;
  if (!options.storm.empty()) {
    given["storm"] = options.storm;
    given["storm_rate"] = options.storm_options.rate;
    given["storm_pages"] = options.storm_options.max_pages;
  }
  if (!options.corrupt.empty()) given["corrupt"] = options.corrupt;
  return {{"command", "stress"}, {"options", std::move(given)}};
}

int stress(const StressOptions& options) {
  Recorder recorder(options.record);
  auto config = options.machine.config();
  if (!config) return report(config.error());
  config->kernel = vmm::BuiltinImage{guest::builtin_memstress(), "built-in memstress"};
  if (config->cpus > guest::max_vcpus)
    return report({vmm::Errc::invalid_argument, 0,
                   fmt::format("--cpus {}: memstress has room for {} vCPUs; give 1 to {}",
                               config->cpus, guest::max_vcpus, guest::max_vcpus)});
  config->command_line = guest_command_line(options);
  // The guest's own lines are kept back, so that they do not mix with the progress line.
  std::mutex serial_mutex;
  std::string serial;
  config->serial = [&](std::span<const char> bytes) {
    const std::lock_guard lock(serial_mutex);
    serial.append(bytes.data(), bytes.size());
  };
  if (auto ok = recorder.open(); !ok) return report(ok.error());
  const std::string kinds = options.machine.possible_storms(options.storm);
  config->memory_slot = storm_slot_bytes(kinds, config->memory);
  config->spare_memory = storm_spare_bytes(kinds);
  auto machine = make_machine(std::move(*config));
  if (!machine) return report(machine.error());
  MailboxPages given_up(**machine);
  StormKeeper storms(**machine,
                     {.means = {.soft = (*machine)->accelerator().soft_memory() != nullptr,
                                .given_up_pages = true},
                      .given_up = &given_up,
                      .seed = options.storm_options.seed});
  if (!options.storm.empty())
    if (auto ok = storms.start(order_of(options.storm, options.storm_options)); !ok)
      return report(ok.error());
  MachineControl control(**machine, storms);
  if (!options.machine.api_socket.empty())
    if (auto ok = control.serve(options.machine.api_socket); !ok) return report(ok.error());
  Watcher watcher(**machine, options.passes != 0 ? 0 : options.seconds);
  Every watch(std::chrono::milliseconds(200));
  recorder.start(**machine, [&]() -> std::optional<std::uint64_t> {
    const auto mailbox = sample_mailbox(**machine);
    return mailbox ? std::optional(read_progress(*mailbox).pages) : std::nullopt;
  });
  const auto interval = std::chrono::milliseconds(recorder.is_on() ? 50 : 200);
  auto result = run_machine(**machine, interval, [&] {
    recorder.tick();
    if (watch.is_due()) watcher.tick();
  });
  const double elapsed = watcher.elapsed();
  watcher.clear();
  control.close();
  const StormKeeper::Totals& storm = storms.finish();
  if (!result) return report(result.error());
  const auto mailbox = sample_mailbox(**machine);
  if (!mailbox) return report(mailbox.error());
  const Ending ending{*result, control.was_shut_down(), read_progress(*mailbox).mismatches};

  // With a given number of passes, a run ends in the same memory wherever it ran.
  std::optional<std::uint64_t> digest;
  if (options.passes != 0 && result->end.reason == vmm::MachineEnd::Reason::exited) {
    auto computed = memory_digest(**machine, {options.mib, options.shared});
    if (!computed) return report(computed.error());
    digest = *computed;
  }

  const bool json = options.machine.stats_format() == StatsFormat::json;
  std::FILE* const out = json ? stderr : stdout;
  fmt::print(out, "{}", serial);
  if (!result->end.report.empty()) fmt::print(stderr, "{}", result->end.report);
  fmt::print(out, "{}", verdict_table(options, **machine, *mailbox, ending, elapsed, storm));
  if (digest)
    fmt::print(out, "  {:<28} {:>20}\n", "digest of tested memory",
               fmt::format("{:016x}", *digest));
  if (!json) print_stats(**machine, options.machine.stats_format());
  int code = exit_code_of(ending);
  if (code == exit_success && !storm.error.empty()) code = exit_host_failed;
  if (json || recorder.is_on()) {
    const nlohmann::ordered_json stats =
        stats_of_run(**machine, *mailbox, ending, {elapsed, code, digest}, storm);
    if (auto ok = recorder.write(recording_head(options), {{"stats", stats}}); !ok) {
      const int failed = report(ok.error());
      if (code == exit_success) code = failed;
    }
    if (json) fmt::print("{}\n", stats.dump());
  }
  return code;
}

} // namespace

void add_stress(CLI::App& program, Command& run) {
  auto options = std::make_shared<StressOptions>();
  StressOptions& o = *options;
  CLI::App* const command = program.add_subcommand(
      "stress", "Run the built-in memory-stress guest and give a verdict on every page it touched");
  o.machine.memory = "size=512M";
  o.machine.cpus = 2;
  auto* const seconds = command->add_option("--seconds", o.seconds, "How long")
                            ->capture_default_str()
                            ->check(CLI::Range(1, 31'536'000));
  command->add_option("--passes", o.passes, "Rounds over the memory, instead of a time")
      ->excludes(seconds)
      ->check(CLI::Range(std::uint64_t(1), std::uint64_t(1) << 40));
  command->add_option("--mib", o.mib, "MiB to test; default: all RAM above the image")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--order", o.order, "Order of access")
      ->capture_default_str()
      ->check(CLI::IsMember({"seq", "stride", "random", "mix"}));
  command->add_option("--write", o.write_percent, "Percentage of visits that write")
      ->capture_default_str()
      ->check(CLI::Range(0, 100));
  command->add_option("--stride", o.stride, "Pages between visits of order stride")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  command
      ->add_option("--seed", o.seed,
                   "Seed of pattern, order and storm; a run's is repeated by the same seed")
      ->capture_default_str();
  command->add_option("--shared", o.shared, "Pages with shared counters")
      ->capture_default_str()
      ->check(CLI::Range(0, 65536));
  command
      ->add_option("--corrupt", o.corrupt,
                   "Damage memory on purpose, once: the verdict must be FAIL")
      ->check(CLI::IsMember({"zeroed", "stale", "lost", "foreign", "corrupt", "counter"}));
  add_storm_options(*command, o.storm, o.storm_options);
  add_record_option(*command, o.record);
  o.machine.add_to(*command);
  o.machine.add_api_socket(*command);
  command->footer(exit_code_help);
  command->callback([options, &run] {
    options->storm_options.seed = options->seed;
    run = [options] { return stress(*options); };
  });
}

} // namespace slat::tool
