// slat doctor: what this host offers for slat, and how to mend what it does not.
#include "slat/commands.hpp"
#include "slat/doctor_print.hpp"
#include "slat/exit_codes.hpp"
#include "slat/run.hpp"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace slat::tool {

namespace {

struct DoctorOptions {
  std::string kvm_device = "/dev/kvm";
  bool json = false;
};

bool wants_colours() {
  const char* const no_color = std::getenv("NO_COLOR"); // see no-color.org: empty does not count
  return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
}

int doctor(const DoctorOptions& options) {
  const Report report = judge(collect_host_facts({.kvm_device = options.kvm_device}));
  using nlohmann::ordered_json;
  // Findings may quote paths, which need not be UTF-8.
  const std::string out =
      options.json
          ? report_json(report).dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"
          : report_text(report, wants_colours());
  write_stdout(out);
  return exit_code_of(report);
}

} // namespace

void add_doctor(CLI::App& program, Command& run) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* const command = program.add_subcommand(
      "doctor", "Tell what this host offers for slat, and how to mend what it does not");
  command->add_flag("--json", options->json, "One JSON object instead of lines");
  command->add_option("--kvm-device", options->kvm_device, "Path of the KVM device")
      ->type_name("PATH")
      ->capture_default_str();
  command->footer(
      "Exit codes:\n"
      "  0   all that slat needs is there (`degraded` lines say what is slower or less)\n"
      "  69  something that slat needs is missing\n"
      "  77  only permission is missing\n");
  command->callback([options, &run] { run = [options] { return doctor(*options); }; });
}

} // namespace slat::tool
