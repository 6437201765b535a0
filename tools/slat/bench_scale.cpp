// slat bench scale: what a machine with many processors would make of the designs, by a model that is fed
// with the costs of single steps.
#include "slat/bench.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/progress.hpp"
#include "slat/run.hpp"
#include "slat/scale/print.hpp"
#include "vmm/printable.hpp"

#include <CLI/CLI.hpp>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace slat::tool {

namespace bench_scale {

namespace {

using scale::Options;

vmm::Result<scale::Costs> read_costs(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf()))
    return vmm::fail(vmm::Errc::no_such_file, errno,
                     fmt::format("bench scale: cannot read '{}': {}", vmm::printable(path),
                                 std::strerror(errno)));
  auto costs = scale::parse_costs(text.str());
  if (!costs)
    return vmm::fail(
        costs.error().code, 0,
        fmt::format("bench scale: '{}': {}", vmm::printable(path), costs.error().message));
  return costs;
}

vmm::Result<void> save_costs(const std::string& path, const scale::Costs& costs) {
  std::ofstream file(path);
  file << scale::to_json(costs).dump(2) << '\n';
  file.close();
  if (!file)
    return vmm::fail(vmm::Errc::host_failed, errno,
                     fmt::format("bench scale: cannot write '{}': {}", vmm::printable(path),
                                 std::strerror(errno)));
  return {};
}

int run_bench(const Options& options) {
  scale::Measured given;
  if (!options.costs_file.empty()) {
    auto costs = read_costs(options.costs_file);
    if (!costs) return report(costs.error());
    given.costs = *costs;
  }
  scale::Rounds rounds;
  std::set<std::string> notes;
  std::optional<int> signal;
  {
    Progress progress;
    for (unsigned round = 0; round < options.rounds && !signal; ++round) {
      const auto show = [&](std::string_view what) {
        progress.show(fmt::format("round {} of {}: {}", round + 1, options.rounds, what));
      };
      if (options.costs_file.empty()) {
        auto measured = scale::measure(show);
        if (!measured) {
          fmt::print(stderr, "slat: bench scale: {}\n", measured.error().message);
          return measured.error().code == mmu::Errc::no_memory ? exit_host_limit : exit_host_failed;
        }
        given = std::move(*measured);
      }
      show("the model");
      scale::Assumptions assumptions = options.assumptions;
      assumptions.seed += round;
      rounds.figures.push_back(scale::study(given, assumptions, options.extent));
      rounds.costs.push_back(given.costs);
      rounds.checks = given.checks;
      notes.insert(given.notes.begin(), given.notes.end());
      signal = pending_signal();
    }
  }
  rounds.notes.assign(notes.begin(), notes.end());
  if (signal)
    fmt::print(stderr, "slat: bench scale: interrupted after {} whole round(s)\n",
               rounds.figures.size());
  if (!options.save_file.empty())
    if (auto ok = save_costs(options.save_file, scale::median_of(rounds.costs)); !ok)
      return report(ok.error());
  if (options.json)
    scale::print_json(options, rounds);
  else
    scale::print_tables(options, rounds);
  return signal ? 128 + *signal : int(exit_success);
}

} // namespace
} // namespace bench_scale

void add_bench_scale(CLI::App& bench, Command& run) {
  using namespace bench_scale;
  auto options = std::make_shared<Options>();
  scale::Assumptions& assumed = options->assumptions;
  CLI::App* const command = bench.add_subcommand(
      "scale", "A model of up to 256 vCPUs, fed with costs measured here, beside published curves");
  command->add_option("--rounds", options->rounds, "Times to measure, and to ask the model")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--max-vcpus", options->extent.most_vcpus, "A power of two")
      ->capture_default_str()
      ->check(CLI::Range(1, 256))
      ->check([](const std::string& text) {
        const auto value = unsigned(std::strtoul(text.c_str(), nullptr, 10));
        return std::has_single_bit(value) ? "" : "not a power of two";
      });
  command->add_option("--readers", options->extent.readers, "Servers of each userfaultfd")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--costs", options->costs_file,
                   "Take the costs of the steps from this file; nothing is measured")
      ->type_name("FILE");
  command->add_option("--save-costs", options->save_file, "Write the costs to this file")
      ->type_name("FILE");
  command
      ->add_option("--far-factor", assumed.far_factor,
                   "A line from another node, against one from the same")
      ->capture_default_str()
      ->check(CLI::Range(1., 100.));
  command->add_option("--node-cpus", assumed.node_cpus, "Processors of a node")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--per-waiter", assumed.per_waiter,
                   "What each who waits for a line adds to its transfer")
      ->capture_default_str()
      ->check(CLI::Range(0., 1.));
  command->add_flag_callback(
      "--no-migratory", [options] { options->assumptions.migratory = false; },
      "A read of a line that another has written brings a copy, not the whole");
  command
      ->add_option("--thread-slots", assumed.thread_slots,
                   "vCPUs with an SRCU and counter slot of their own")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--serial-ns", assumed.serial_ns,
                   "What each fault spends one at a time in what the model leaves out")
      ->capture_default_str()
      ->check(CLI::Range(0., 1e6));
  command->add_option("--seed", assumed.seed, "Of the small variations of computing times")
      ->capture_default_str();
  command->add_flag("--json", options->json, "One JSON object");
  command->footer(scale::assumptions_text);
  command->callback([options, &run] { run = [options] { return run_bench(*options); }; });
}

} // namespace slat::tool
