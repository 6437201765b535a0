#include "slat/inval.hpp"

#include "guests/abi.hpp"
#include "slat/commands.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/run.hpp"
#include "vmm/layout.hpp"
#include "vmm/printable.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace slat::tool {

namespace {

using Verdict = InvalOutcome::Verdict;

struct Options {
  std::vector<std::string> names;
  unsigned repeat = 1;
  std::uint64_t seed = 1;
  std::string accel = "both";
  std::string vma_lock = "all";
  std::string kvm_device = "/dev/kvm";
  std::string seccomp = "on";
  std::string memory = "64M";
  unsigned cpus = 2;
  double seconds = 1;
  bool json = false;
};

struct Totals {
  unsigned passed = 0;
  unsigned failed = 0;
  unsigned skipped = 0;
};

constexpr std::string_view verdict_names[] = {"passed", "FAILED", "skipped", "interrupted"};

std::string_view name_of(vmm::Accel accel) {
  return accel == vmm::Accel::soft ? "soft" : "kvm";
}

/// Whole numbers from 100 up, else three digits that matter.
std::string number(double value) {
  return value >= 100 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

void print_row(const InvalTest& test, const InvalCell& cell, const InvalOutcome& outcome,
               double seconds) {
  fmt::print("{:<22} {:<4} {:<12} {:<7} {:6.1f} s\n", test.name, name_of(cell.accel),
             mmu::to_string(cell.vma_lock), verdict_names[std::size_t(outcome.verdict)], seconds);
  if (!outcome.why.empty()) fmt::print("    {}\n", vmm::printable(outcome.why));
  std::string line = "   ";
  for (const auto& [name, value] : outcome.figures) {
    const std::string figure = fmt::format(" {} {}", name, number(value));
    if (line.size() + figure.size() > 79) {
      fmt::print("{}\n", line);
      line = "   ";
    }
    line += figure;
  }
  if (!outcome.figures.empty()) fmt::print("{}\n", line);
  std::fflush(stdout);
}

nlohmann::ordered_json json_row(const InvalTest& test, const InvalCell& cell,
                                const InvalOutcome& outcome, double seconds) {
  nlohmann::ordered_json row = {
      {"test", std::string(test.name)},
      {"accelerator", std::string(name_of(cell.accel))},
      {"vma_lock", std::string(mmu::to_string(cell.vma_lock))},
      {"seed", cell.seed},
      {"verdict", outcome.verdict == Verdict::failed
                      ? "failed"
                      : std::string(verdict_names[std::size_t(outcome.verdict)])},
      {"seconds", seconds},
  };
  if (!outcome.why.empty()) row["why"] = outcome.why;
  for (const auto& [name, value] : outcome.figures) row["figures"][name] = value;
  return row;
}

std::vector<vmm::Accel> accelerators(const std::string& name) {
  if (name == "kvm") return {vmm::Accel::kvm};
  if (name == "soft") return {vmm::Accel::soft};
  return {vmm::Accel::kvm, vmm::Accel::soft};
}

vmm::Result<std::vector<const InvalTest*>> chosen(const std::vector<std::string>& names) {
  std::vector<const InvalTest*> tests;
  for (const std::string& name : names)
    if (std::ranges::none_of(inval_tests(), [&](const auto& test) { return test.name == name; }))
      return vmm::fail(
          vmm::Errc::invalid_argument, 0,
          fmt::format("no test '{}'; `slat inval list` names them", vmm::printable(name)));
  for (const InvalTest& test : inval_tests())
    if (names.empty() || std::ranges::find(names, test.name) != names.end()) tests.push_back(&test);
  return tests;
}

int run_tests(const Options& options) {
  const auto tests = chosen(options.names);
  if (!tests) return report(tests.error());
  MachineOptions sizes;
  sizes.memory = options.memory;
  const auto memory = sizes.memory_bytes();
  if (!memory) return report(memory.error());
  if (*memory % (2 << 20) != 0)
    return report({vmm::Errc::invalid_argument, 0,
                   fmt::format("--memory {}: these tests take a multiple of 2M", options.memory)});
  std::vector<mmu::VmaLockDesign> designs(std::begin(mmu::all_vma_lock_designs),
                                          std::end(mmu::all_vma_lock_designs));
  if (options.vma_lock != "all") designs = {mmu::vma_lock_design(options.vma_lock).value()};
  const auto accels = accelerators(options.accel);

  InvalContext context;
  Totals totals;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const std::size_t count = tests->size() * accels.size() * designs.size() * options.repeat;
  std::size_t number_of_run = 0;
  bool interrupted = false;
  for (unsigned round = 0; round < options.repeat && !interrupted; ++round)
    for (const InvalTest* const test : *tests)
      for (const vmm::Accel accel : accels)
        for (const mmu::VmaLockDesign design : designs) {
          if (interrupted) break;
          const InvalCell cell{.accel = accel,
                               .vma_lock = design,
                               .memory = *memory,
                               .cpus = options.cpus,
                               .seed = options.seed + round,
                               .seconds = options.seconds,
                               .kvm_device = options.kvm_device,
                               .seccomp = seccomp_mode(options.seccomp)};
          context.prefix = fmt::format("{}/{} {} {} {}: ", ++number_of_run, count, test->name,
                                       name_of(accel), mmu::to_string(design));
          const auto start = std::chrono::steady_clock::now();
          const InvalOutcome outcome = test->run(cell, context);
          const double seconds =
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
          context.clear();
          interrupted = outcome.verdict == Verdict::interrupted || context.interrupted();
          totals.passed += outcome.verdict == Verdict::passed ? 1 : 0;
          totals.failed += outcome.verdict == Verdict::failed ? 1 : 0;
          totals.skipped += outcome.verdict == Verdict::skipped ? 1 : 0;
          if (options.json)
            rows.push_back(json_row(*test, cell, outcome, seconds));
          else
            print_row(*test, cell, outcome, seconds);
        }
  const std::string summary =
      fmt::format("{} passed, {} failed, {} skipped{}", totals.passed, totals.failed,
                  totals.skipped, interrupted ? "; interrupted" : "");
  if (options.json)
    fmt::print("{}\n", nlohmann::ordered_json({{"runs", rows},
                                               {"passed", totals.passed},
                                               {"failed", totals.failed},
                                               {"skipped", totals.skipped},
                                               {"interrupted", interrupted}})
                           .dump());
  else
    fmt::print("slat inval: {}\n", summary);
  if (totals.failed != 0) return exit_failed_verdict;
  if (interrupted) return 128 + pending_signal().value_or(2);
  return totals.passed == 0 ? exit_unavailable : exit_success;
}

int list_tests() {
  for (const InvalTest& test : inval_tests()) fmt::print("{:<22} {}\n", test.name, test.what);
  return exit_success;
}

} // namespace

void add_inval(CLI::App& program, Command& run) {
  CLI::App* const inval =
      program.add_subcommand("inval", "Invalidation tests: is every access of a guest right while "
                                      "its memory changes underneath?");
  inval->require_subcommand(1);
  inval->footer(exit_code_help);
  CLI::App* const list = inval->add_subcommand("list", "The tests, a line each");
  list->callback([&run] { run = list_tests; });

  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* const command =
      inval->add_subcommand("run", "Runs tests, in each cell of accelerators and lock designs");
  std::string names;
  for (const InvalTest& test : inval_tests())
    names += fmt::format("{}{}", names.empty() ? "" : ",", test.name);
  command->add_option("NAME", o.names, "Tests to run; default: all")
      ->check(CLI::Validator([](std::string&) { return std::string(); }, "{" + names + "}"));
  command->add_option("--repeat", o.repeat, "Rounds, each with the next seed")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--seed", o.seed, "Of guests and storms")->capture_default_str();
  command->add_option("--accel", o.accel, "What runs the guests")
      ->capture_default_str()
      ->check(CLI::IsMember({"kvm", "soft", "both"}));
  command->add_option("--vma-lock", o.vma_lock, "The design of VMA locks, or all of them")
      ->capture_default_str()
      ->check(CLI::IsMember({"mmap-lock", "spf", "vma-rwsem", "vma-refcount", "all"}));
  command->add_option("--memory", o.memory, "Guest RAM, a multiple of 2M")
      ->capture_default_str()
      ->type_name("SIZE");
  command->add_option("--cpus", o.cpus, "Virtual CPUs")
      ->capture_default_str()
      ->check(CLI::Range(1u, guest::max_vcpus));
  command->add_option("--seconds", o.seconds, "Work under stress in each run")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 86400.0));
  command->add_option("--kvm-device", o.kvm_device, "Path of the KVM device")
      ->type_name("PATH")
      ->capture_default_str();
  add_seccomp_option(*command, o.seccomp);
  command->add_flag("--json", o.json, "One JSON object");
  command->footer(exit_code_help);
  command->callback([options, &run] { run = [options] { return run_tests(*options); }; });
}

} // namespace slat::tool
