// slat boot: one guest image, its serial port on standard output.
#include "slat/commands.hpp"
#include "slat/console.hpp"
#include "slat/device_options.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/run.hpp"
#include "slat/stats.hpp"
#include "slat/storm_option.hpp"
#include "vmm/storm.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace slat::tool {

namespace {

struct BootOptions {
  MachineOptions machine;
  DeviceOptions devices;
  std::string kernel;
  std::string command_line;
  std::string initrd;
  std::string storm;
  vmm::StormOptions storm_options;
};

int exit_code_of(const RunResult& result) {
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
  return exit_host_failed; // nobody asked for a stop
}

int boot(const BootOptions& options) {
  auto config = options.machine.config();
  if (!config) return report(config.error());
  config->kernel = std::filesystem::path(options.kernel);
  config->command_line = options.command_line;
  config->initrd = options.initrd;
  config->memory_slot = storm_slot_bytes(options.storm, config->memory);
  config->spare_memory = storm_spare_bytes(options.storm);
  config->serial = write_stdout;
  auto devices = options.devices.config(config->memory);
  if (!devices) return report(devices.error());
  config->devices = std::move(*devices);
  config->notice = [](const std::string& line) { fmt::print(stderr, "slat: {}\n", line); };
  auto machine = make_machine(std::move(*config));
  if (!machine) return report(machine.error());
  std::optional<vmm::Storm> storm;
  if (!options.storm.empty()) {
    auto kinds =
        parse_storm(options.storm, {.soft = (*machine)->accelerator().soft_memory() != nullptr,
                                    .kvm_writes = (*machine)->is_pc()});
    if (!kinds) return report(kinds.error());
    vmm::StormOptions storm_options = options.storm_options;
    storm_options.kinds = std::move(*kinds);
    storm.emplace(**machine, storm_options);
  }
  std::optional<Console> console;
  if ((*machine)->is_pc()) console.emplace((*machine)->console());
  if (console && console->is_terminal()) fmt::print(stderr, "slat: Ctrl-] ends the guest\r\n");
  auto result =
      run_machine(**machine, std::chrono::seconds(1), [] {}, console ? &*console : nullptr);
  console.reset(); // what follows is for the terminal as it was
  if (!result) return report(result.error());
  const std::string storm_error = storm ? storm->finish() : std::string();
  int code = exit_code_of(*result);
  if (!storm_error.empty()) {
    fmt::print(stderr, "slat: the storm ended early: {}\n", storm_error);
    if (code == exit_success) code = exit_host_failed;
  } else if (storm) {
    fmt::print(stderr, "slat: storm: {} ranges\n", storm->ranges());
  }
  if (result->signal) fmt::print(stderr, "slat: interrupted, the guest is stopped\n");
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
  add_storm_options(*command, options->storm, options->storm_options);
  options->machine.add_to(*command);
  command->footer(exit_code_help);
  command->callback([options, &run] { run = [options] { return boot(*options); }; });
}

} // namespace slat::tool
