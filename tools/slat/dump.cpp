// slat dump: what slat knows of a running guest's memory.
#include "guests/builtin.hpp"
#include "slat/commands.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/output_file.hpp"
#include "slat/run.hpp"
#include "slat/stats.hpp"
#include "slat/storm_option.hpp"
#include "vmm/layout.hpp"
#include "vmm/memory_picture.hpp"
#include "vmm/printable.hpp"
#include "vmm/stage2_dump.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace slat::tool {

namespace {

using Clock = std::chrono::steady_clock;

struct DumpOptions {
  MachineOptions machine;
  std::string kernel;
  std::string command_line;
  double after = 1; // seconds
  std::string storm;
  std::string picture;
  bool exact = false;
  std::size_t lines = 200;
};

/// The table as text on standard output, and the picture; the guest may run meanwhile.
vmm::Result<void> sample(vmm::Machine& machine, const DumpOptions& options, OutputFile& picture) {
  vmm::SoftMemory& memory = *machine.accelerator().soft_memory();
  fmt::print(
      "{}", vmm::stage2_text(memory.table(), {.exact = options.exact, .max_lines = options.lines}));
  std::fflush(stdout);
  if (options.picture.empty()) return {};
  const vmm::MemoryMap map =
      vmm::collect_memory_map(machine.ram().regions(), machine.ram().mm().vmas(), &memory.table());
  const std::string title = fmt::format(
      "slat dump stage2: {}, {} vCPU(s){}", options.kernel.empty() ? "memstress" : options.kernel,
      options.machine.cpus, options.storm.empty() ? "" : ", storm " + options.storm);
  const std::string time = fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)));
  return picture.write(vmm::memory_picture_svg(map, {.title = title, .time = time}));
}

int dump_stage2(const DumpOptions& options) {
  auto config = options.machine.config();
  if (!config) return report(config.error());
  if (config->accel == vmm::Accel::kvm)
    return report({vmm::Errc::invalid_argument, 0,
                   "dump stage2: under --accel kvm the tables are the kernel's; use --accel soft"});
  config->accel = vmm::Accel::soft;
  if (options.kernel.empty()) {
    config->kernel = vmm::BuiltinImage{guest::builtin_memstress(), "built-in memstress"};
    config->command_line = options.command_line.empty() ? "order=mix quiet" : options.command_line;
  } else {
    config->kernel = std::filesystem::path(options.kernel);
    config->command_line = options.command_line;
  }
  // The dump alone is on standard output.
  config->serial = [](std::span<const char> bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stderr);
  };
  tzset(); // gmtime() reads the time zone's file the first time, also for UTC
  OutputFile picture("--picture", options.picture);
  if (!options.picture.empty())
    if (auto ok = picture.open(); !ok) return report(ok.error());
  config->memory_slot = storm_slot_bytes(options.storm, config->memory);
  config->spare_memory = storm_spare_bytes(options.storm);
  auto machine = make_machine(std::move(*config));
  if (!machine) return report(machine.error());
  std::optional<vmm::Storm> storm;
  if (!options.storm.empty()) {
    auto kinds = parse_storm(options.storm, {.soft = true});
    if (!kinds) return report(kinds.error());
    storm.emplace(**machine, vmm::StormOptions{.kinds = std::move(*kinds)});
  }

  const auto due = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(options.after));
  std::optional<vmm::Result<void>> sampled;
  auto result = run_machine(**machine, std::chrono::milliseconds(10), [&] {
    if (sampled || Clock::now() < due) return;
    sampled = sample(**machine, options, picture);
    (*machine)->request_stop();
  });
  if (!result) return report(result.error());
  if (!sampled) {
    fmt::print(stderr, "slat: {} before --after {}; this is what the guest left\n{}",
               result->signal ? "interrupted" : "the guest ended", options.after,
               result->end.report);
    sampled = sample(**machine, options, picture);
  }
  if (!*sampled) return report(sampled->error());
  print_stats(**machine, options.machine.stats_format());
  if (result->signal) return 128 + *result->signal;
  switch (result->end.reason) {
  case vmm::MachineEnd::Reason::crashed:
    return exit_guest_crashed;
  case vmm::MachineEnd::Reason::halted:
    return exit_guest_halted;
  case vmm::MachineEnd::Reason::exited: // with whatever code: it was looked at, not judged
  case vmm::MachineEnd::Reason::reset:
  case vmm::MachineEnd::Reason::stopped:
    break;
  }
  return exit_success;
}

} // namespace

void add_dump(CLI::App& program, Command& run) {
  CLI::App* const dump =
      program.add_subcommand("dump", "Show what slat knows of a running guest's memory");
  dump->require_subcommand(1);
  auto options = std::make_shared<DumpOptions>();
  options->machine.memory = "size=64M";
  options->machine.accel = "soft";
  CLI::App* const command = dump->add_subcommand(
      "stage2", "The live stage-2 table of a guest on software vCPUs, as text and as a picture");
  command->add_option("--kernel", options->kernel, "The image; default: the built-in memstress")
      ->type_name("FILE");
  command
      ->add_option("--cmdline", options->command_line,
                   "Command line for the guest; of memstress by default: order=mix quiet")
      ->type_name("TEXT");
  command->add_option("--after", options->after, "When to look: seconds after the start")
      ->capture_default_str()
      ->type_name("SECONDS")
      ->check(CLI::Validator(
          [](std::string& text) {
            double value = -1;
            const bool number = CLI::detail::lexical_cast(text, value);
            return number && value >= 0 && value <= 86400 // not a NaN either
                       ? std::string()
                       : fmt::format("'{}' is not a number of seconds from 0 to 86400",
                                     vmm::printable(text));
          },
          ""));
  add_storm_option(*command, options->storm);
  command
      ->add_option("--picture", options->picture,
                   "Draw guest memory into this file: resident, mapped, young, dirty, huge")
      ->type_name("FILE.svg")
      ->check(CLI::Validator(
          [](std::string& path) {
            return path.ends_with(".svg")
                       ? std::string()
                       : "'" + vmm::printable(path) + "' does not end in .svg: pictures are SVG";
          },
          "FILE.svg"));
  command->add_flag("--exact", options->exact,
                    "A line for each run of equal accessed and dirty bits");
  command->add_option("--lines", options->lines, "Ranges shown at most")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  options->machine.add_to(*command);
  command->footer(exit_code_help);
  command->callback([options, &run] { run = [options] { return dump_stage2(*options); }; });
}

} // namespace slat::tool
