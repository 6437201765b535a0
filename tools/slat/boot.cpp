// slat boot: one guest image, its serial port on standard output.
#include "slat/commands.hpp"
#include "slat/console.hpp"
#include "slat/device_options.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_control.hpp"
#include "slat/machine_options.hpp"
#include "slat/recorder.hpp"
#include "slat/run.hpp"
#include "slat/stats.hpp"
#include "slat/storm_keeper.hpp"
#include "slat/storm_option.hpp"
#include "slat/watchdog.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

namespace slat::tool {

namespace {

struct BootOptions {
  MachineOptions machine;
  DeviceOptions devices;
  std::string kernel;
  std::string command_line;
  std::string initrd;
  std::string record;
  std::string storm;
  vmm::StormOptions storm_options;
  unsigned progress_timeout = 30; // seconds; 0: never
};

/// Tells the user, once, of a guest that makes no progress.
class Attention {
 public:
  explicit Attention(unsigned seconds) : patience_(seconds) {}

  /// The serial port's sink.
  void print(std::span<const char> bytes) {
    begun_.fetch_add(bytes.size(), std::memory_order_relaxed); // counts, both
    write_stdout(bytes);
    done_.fetch_add(bytes.size(), std::memory_order_relaxed);
  }

  [[nodiscard]] std::chrono::milliseconds interval() const {
    return patience_.count() == 0 ? std::chrono::seconds(1) : Watchdog::interval(patience_);
  }

  void tick(vmm::Machine& machine) {
    if (patience_.count() == 0) return;
    if (machine.is_paused()) { // its progress is looked at from the resumption on
      watchdog_.emplace(Watchdog::Clock::now(), patience_);
      return;
    }
    const std::uint64_t bytes = begun_.load(std::memory_order_relaxed); // a count
    if (bytes != done_.load(std::memory_order_relaxed)) return; // standard output is what waits
    const auto vcpus = machine.samples();
    const auto notice = watchdog_->look(Watchdog::Clock::now(), bytes, vcpus);
    if (notice != Watchdog::Notice::none)
      fmt::print(
          stderr, "slat: {}\n",
          progress_notice(notice, patience_, watchdog_->seen(), machine.is_pc(), machine.ram()));
    machine.request_samples();
  }

 private:
  const std::chrono::seconds patience_;
  std::optional<Watchdog> watchdog_{std::in_place, Watchdog::Clock::now(), patience_};
  std::atomic<std::uint64_t> begun_{0};
  std::atomic<std::uint64_t> done_{0};
};

int exit_code_of(const RunResult& result, bool shut_down) {
  if (result.signal) return 128 + *result.signal;
  switch (result.end.reason) {
  case vmm::MachineEnd::Reason::exited:
    return int(std::min(result.end.exit_code, unsigned(exit_guest_max)));
  case vmm::MachineEnd::Reason::halted:
    fmt::print(stderr,
               "slat: the guest halted, and nothing can wake it (it should end by port 0xf4)\n");
    return exit_guest_halted;
  case vmm::MachineEnd::Reason::crashed:
    fmt::print(stderr, "slat: the guest crashed\n{}", result.end.report);
    return exit_guest_crashed;
  case vmm::MachineEnd::Reason::reset:
    fmt::print(stderr, "slat: the guest asked for a reset; slat does not start it again\n");
    return exit_guest_reset;
  case vmm::MachineEnd::Reason::stopped:
    break;
  }
  return shut_down ? exit_success : exit_host_failed; // by a request; nobody asked for a stop
}

std::string_view verdict_of(const RunResult& result, bool shut_down) {
  if (result.signal) return "INTERRUPTED";
  switch (result.end.reason) {
  case vmm::MachineEnd::Reason::exited:
    return "EXITED";
  case vmm::MachineEnd::Reason::halted:
    return "HALTED";
  case vmm::MachineEnd::Reason::crashed:
    return "CRASHED";
  case vmm::MachineEnd::Reason::reset:
    return "RESET";
  case vmm::MachineEnd::Reason::stopped:
    break;
  }
  return shut_down ? "SHUT DOWN" : "STOPPED";
}

nlohmann::ordered_json recording_head(const BootOptions& options) {
  nlohmann::ordered_json given{{"kernel", options.kernel}};
  if (!options.initrd.empty()) given["initrd"] = options.initrd;
  if (!options.command_line.empty()) given["cmdline"] = options.command_line;
  if (!options.storm.empty()) {
    given["storm"] = options.storm;
    given["storm_rate"] = options.storm_options.rate;
    given["storm_pages"] = options.storm_options.max_pages;
  }
  return {{"command", "boot"}, {"options", std::move(given)}};
}

int boot(const BootOptions& options) {
  Recorder recorder(options.record);
  if (auto ok = recorder.open(); !ok) return report(ok.error());
  auto config = options.machine.config();
  if (!config) return report(config.error());
  config->kernel = std::filesystem::path(options.kernel);
  config->command_line = options.command_line;
  config->initrd = options.initrd;
  const std::string kinds = options.machine.possible_storms(options.storm);
  config->memory_slot = storm_slot_bytes(kinds, config->memory);
  config->spare_memory = storm_spare_bytes(kinds);
  Attention attention(options.progress_timeout); // outlives the machine, which prints by it
  config->serial = [&attention](std::span<const char> bytes) { attention.print(bytes); };
  auto devices = options.devices.config(config->memory, config->serial);
  if (!devices) return report(devices.error());
  config->devices = std::move(*devices);
  config->notice = [](const std::string& line) { fmt::print(stderr, "slat: {}\n", line); };
  auto machine = make_machine(std::move(*config));
  if (!machine) return report(machine.error());
  StormKeeper storms(**machine,
                     {.means = {.soft = (*machine)->accelerator().soft_memory() != nullptr,
                                .kvm_writes = (*machine)->is_pc()},
                      .seed = options.storm_options.seed});
  if (!options.storm.empty())
    if (auto ok = storms.start(order_of(options.storm, options.storm_options)); !ok)
      return report(ok.error());
  MachineControl control(**machine, storms);
  if (!options.machine.api_socket.empty())
    if (auto ok = control.serve(options.machine.api_socket); !ok) return report(ok.error());
  std::optional<Console> console;
  if ((*machine)->is_pc()) console.emplace((*machine)->console());
  if (console && console->is_terminal()) fmt::print(stderr, "slat: Ctrl-] ends the guest\r\n");
  // No recording: each tick is the watchdog's, as it asks for.
  Every watch(recorder.is_on() ? attention.interval() : std::chrono::milliseconds(0));
  recorder.start(**machine);
  const auto began = std::chrono::steady_clock::now();
  auto result = run_machine(
      **machine,
      recorder.is_on() ? std::min(attention.interval(), std::chrono::milliseconds(50))
                       : attention.interval(),
      [&] {
        recorder.tick();
        if (watch.is_due()) attention.tick(**machine);
      },
      console ? &*console : nullptr);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began;
  console.reset(); // what follows is for the terminal as it was
  control.close();
  if (!result) return report(result.error());
  const StormKeeper::Totals& storm = storms.finish();
  int code = exit_code_of(*result, control.was_shut_down());
  if (!storm.error.empty()) {
    fmt::print(stderr, "slat: the storm ended early: {}\n", storm.error);
    if (code == exit_success) code = exit_host_failed;
  } else if (storm.storms != 0) {
    fmt::print(stderr, "slat: storm: {} ranges\n", storm.all_ranges());
  }
  if (result->signal) fmt::print(stderr, "slat: interrupted, the guest is stopped\n");
  if (recorder.is_on()) {
    nlohmann::ordered_json stats = collect_stats(**machine);
    stats["verdict"] = verdict_of(*result, control.was_shut_down());
    stats["exit_code"] = code;
    stats["seconds"] = elapsed.count();
    if (auto ok = recorder.write(recording_head(options), {{"stats", std::move(stats)}}); !ok) {
      const int failed = report(ok.error());
      if (code == exit_success) code = failed;
    }
  }
  print_stats(**machine, options.machine.stats_format());
  return code;
}

} // namespace

void add_boot(CLI::App& program, Command& run) {
  auto options = std::make_shared<BootOptions>();
  CLI::App* const command =
      program.add_subcommand("boot", "Boot a kernel: Linux (bzImage or vmlinux), or a static "
                                     "ELF64 image such as slat's own guests; its serial port is "
                                     "standard output, and Linux's input standard input");
  command->add_option("--kernel", options->kernel, "The image")->required()->type_name("FILE");
  command->add_option("--initrd", options->initrd, "Initial RAM disk for Linux")->type_name("FILE");
  command->add_option("--cmdline", options->command_line, "Command line for the guest")
      ->type_name("TEXT");
  options->devices.add_to(*command);
  command
      ->add_option("--progress-timeout", options->progress_timeout,
                   "Say so when the guest has made no progress for this long; 0: never")
      ->capture_default_str()
      ->check(CLI::Range(0u, 86400u))
      ->type_name("SECONDS");
  add_storm_options(*command, options->storm, options->storm_options);
  add_record_option(*command, options->record);
  options->machine.add_to(*command);
  options->machine.add_api_socket(*command);
  command->footer(exit_code_help);
  command->callback([options, &run] { run = [options] { return boot(*options); }; });
}

} // namespace slat::tool
