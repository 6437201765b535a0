// slat-explore: runs scenarios under every schedule up to a bound, or at random, or one schedule again.
#include "scenario.hpp"
#include "search.hpp"

#include "mmu/rcu.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <malloc.h>
#include <optional>
#include <unistd.h>

namespace slat::explore {
namespace {

struct Options {
  std::vector<std::string> names;
  std::vector<std::string> designs;
  unsigned preemptions = 2;
  bool no_reduction = false;
  bool histories = false;
  std::uint64_t random = 0; // executions; 0: depth first
  std::uint64_t seed = 1;
  unsigned depth = 4;
  std::uint64_t max_executions = ~std::uint64_t(0);
  double seconds = 1e9;
  std::size_t max_steps = 20000;
  std::string schedule;
};

std::vector<ScenarioInfo> all_scenarios() {
  std::vector<ScenarioInfo> all;
  for (const auto part :
       {explorer_scenarios(), notifier_scenarios(), fault_scenarios(), vma_scenarios(),
        stage2_scenarios(), dirty_scenarios(), device_scenarios()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<mmu::VmaLockDesign> designs_of(const ScenarioInfo& info) {
  using enum mmu::VmaLockDesign;
  switch (info.designs) {
  case Designs::any:
    return {vma_refcount};
  case Designs::recycling:
    return {vma_rwsem, vma_refcount};
  case Designs::each:
    return {mmap_lock, spf, vma_rwsem, vma_refcount};
  }
  return {};
}

std::string_view name_of(const ScenarioInfo& info, mmu::VmaLockDesign design) {
  return info.designs == Designs::any ? "any" : mmu::to_string(design);
}

Scheduler* running = nullptr;

extern "C" void on_signal(int signal) {
  std::signal(signal, SIG_DFL);
  if (running != nullptr) running->fail(fmt::format("signal {} ({})", signal, strsignal(signal)));
}

/// One scenario with one design until the strategy has enough.
void explore(const ScenarioInfo& info, mmu::VmaLockDesign design, Scheduler& scheduler,
             const Options& options) {
  const auto begun = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  };
  std::unique_ptr<Strategy> strategy;
  if (!options.schedule.empty())
    strategy = std::make_unique<Replay>(from_text(options.schedule));
  else if (options.random != 0)
    strategy = std::make_unique<RandomPriorities>(RandomPriorities::Options{
        .executions = options.random, .seed = options.seed, .depth = options.depth});
  else
    strategy = std::make_unique<DepthFirst>(
        DepthFirst::Options{.preemptions = options.preemptions, .reduce = !options.no_reduction});

  std::uint64_t executions = 0;
  Histories histories;
  std::size_t deepest = 0;
  scheduler.on_failure = [&](const std::string& what) {
    fmt::print(
        "{} {}: FAILED in execution {}: {}\n{}schedule: {}\nagain: slat-explore replay {} {}{}\n",
        info.name, name_of(info, design), executions + 1, what, scheduler.trace(40),
        to_text(scheduler.steps()), info.name,
        info.designs == Designs::any ? "" : fmt::format("--vma-lock {} ", mmu::to_string(design)),
        to_text(scheduler.steps()));
    std::fflush(stdout);
    _exit(1);
  };
  running = &scheduler;
  std::string bound = "all";
  for (;;) {
    {
      const auto scenario = info.make(design);
      scheduler.run(scenario->bodies(), *strategy, options.max_steps);
      scenario->check();
    }
    mmu::rcu::barrier();
    scheduler.end_execution();
    ++executions;
    if (options.histories) histories.add(scheduler.steps());
    deepest = std::max(deepest, scheduler.steps().size());
    if (!strategy->end(scheduler.steps())) break;
    if (executions >= options.max_executions) {
      bound = "cut by --max-executions";
      break;
    }
    if (seconds() >= options.seconds) {
      bound = "cut by --seconds";
      break;
    }
  }
  running = nullptr;
  if (!options.schedule.empty())
    bound = "replayed";
  else if (options.random != 0)
    bound += fmt::format(" random, depth {}, seed {}", options.depth, options.seed);
  else
    bound += fmt::format(" with {} preemptions", options.preemptions);
  if (options.histories) bound += fmt::format(", {} histories", histories.count());
  fmt::print("{:22} {:12} {:9} executions, {:5} steps at most, {}, {:.1f} s\n", info.name,
             name_of(info, design), executions, deepest, bound, seconds());
  std::fflush(stdout);
}

int run(const Options& options) {
  struct Run {
    ScenarioInfo info;
    mmu::VmaLockDesign design;
  };

  const std::vector<ScenarioInfo> all = all_scenarios();
  for (const std::string& name : options.names)
    if (std::none_of(all.begin(), all.end(), [&](const auto& info) { return name == info.name; })) {
      fmt::print(stderr, "slat-explore: no scenario '{}': see slat-explore list\n", name);
      return 64;
    }
  std::vector<Run> runs;
  for (const ScenarioInfo& info : all) {
    const std::string name = info.name;
    if (options.names.empty()
            ? name.starts_with("self-")
            : std::find(options.names.begin(), options.names.end(), name) == options.names.end())
      continue;
    for (const mmu::VmaLockDesign design : designs_of(info))
      if (options.designs.empty() || info.designs == Designs::any ||
          std::find(options.designs.begin(), options.designs.end(), mmu::to_string(design)) !=
              options.designs.end())
        runs.push_back({info, design});
  }
  if (runs.empty()) {
    fmt::print(stderr, "slat-explore: no scenario has that design: see slat-explore list\n");
    return 64;
  }
  if (!options.schedule.empty() && (runs.size() != 1 || from_text(options.schedule).empty())) {
    fmt::print(stderr, "slat-explore: to replay takes one scenario, its --vma-lock if it has "
                       "several, and a schedule such as 0x12,1x3\n");
    return 64;
  }
  Scheduler scheduler(max_threads);
  for (const Run& one : runs) explore(one.info, one.design, scheduler, options);
  return 0;
}

int list() {
  for (const ScenarioInfo& info : all_scenarios()) {
    std::string designs;
    if (info.designs != Designs::any)
      for (const mmu::VmaLockDesign design : designs_of(info))
        designs += fmt::format(" {}", mmu::to_string(design));
    fmt::print("{:22} {}{}{}\n", info.name, info.about, designs.empty() ? "" : ":", designs);
  }
  return 0;
}

} // namespace

int main_of(int argc, char** argv) {
  Options options;
  CLI::App app("Explores the interleavings of small scenarios of mmu/.", "slat-explore");
  app.require_subcommand(1);
  auto* const list_command = app.add_subcommand("list", "the scenarios and their designs");
  auto* const run_command =
      app.add_subcommand("run", "explores; exit code 1 and a schedule if something fails");
  auto* const replay_command = app.add_subcommand("replay", "runs one schedule again");
  run_command->add_option("NAME", options.names, "scenarios; none: all but self-*");
  run_command->add_option("--preemptions", options.preemptions, "at most so many each")
      ->capture_default_str();
  run_command->add_flag("--no-reduction", options.no_reduction,
                        "both orders of steps that commute, too");
  run_command->add_flag("--histories", options.histories,
                        "counts what single threads saw: the reduction must lose none");
  run_command->add_option("--random", options.random, "so many at random instead of all in turn");
  run_command->add_option("--seed", options.seed, "of --random")->capture_default_str();
  run_command->add_option("--depth", options.depth, "of --random: changes of priority and one")
      ->capture_default_str();
  run_command->add_option("--max-executions", options.max_executions, "ends after so many");
  run_command->add_option("--seconds", options.seconds, "ends after so long");
  std::string name;
  replay_command->add_option("NAME", name, "the scenario")->required();
  replay_command->add_option("SCHEDULE", options.schedule, "as a failure printed it")->required();
  for (auto* const command : {run_command, replay_command}) {
    command->add_option("--vma-lock", options.designs, "mmap-lock, spf, vma-rwsem, vma-refcount");
    command->add_option("--max-steps", options.max_steps, "more in one execution is a failure")
        ->capture_default_str();
  }
  CLI11_PARSE(app, argc, argv);
  if (list_command->parsed()) return list();
  if (replay_command->parsed()) options.names = {name};
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE}) std::signal(signal, on_signal);
  return run(options);
}

} // namespace slat::explore

int main(int argc, char** argv) {
  return slat::explore::main_of(argc, argv);
}
