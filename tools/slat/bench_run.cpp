// The common part of all benchmarks: options, output, and the comparison with an earlier run.
#include "slat/bench_compare.hpp"
#include "slat/bench_report.hpp"
#include "slat/exit_codes.hpp"
#include "slat/machine_options.hpp"
#include "slat/run.hpp"
#include "vmm/image_file.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <set>

namespace slat::tool {

namespace {

constexpr std::uint64_t max_baseline_bytes = 16 << 20;

/// An exit code, if not 0 with the message printed.
int read_baseline(const BenchOptions& options, std::string_view bench, Baseline& baseline) {
  auto file = vmm::read_image_file(options.compare, "baseline");
  if (!file) return report(file.error());
  if (file->size > max_baseline_bytes) {
    fmt::print(stderr,
               "slat: baseline '{}': larger than 16 MiB; give what `slat bench --json` has "
               "printed\n",
               options.compare);
    return exit_usage;
  }
  const std::string text(reinterpret_cast<const char*>(file->data.get()), file->size);
  auto parsed = parse_baseline(text, bench);
  if (const auto* const why = std::get_if<std::string>(&parsed)) {
    fmt::print(stderr, "slat: baseline '{}': {}\n", options.compare, *why);
    return exit_usage;
  }
  baseline = std::move(std::get<Baseline>(parsed));
  return exit_success;
}

/// Measures up to `attempts` times: a ratio has regressed if it did each time. A machine that others use too has bad
/// minutes; slat's own regressions stay.
int compare_and_repeat(std::string_view name, const BenchOptions& options, const Measure& measure,
                       const Baseline& baseline, BenchReport first) {
  std::FILE* const out = options.json ? stderr : stdout;
  std::set<std::string> regressed;
  for (unsigned attempt = 1;; ++attempt) {
    const std::vector<Change> changes = compare(first, baseline, options.threshold);
    fmt::print(out, "\n{}", to_text(changes));
    std::set<std::string> now;
    for (const Change& change : changes)
      if (change.regressed && (attempt == 1 || regressed.contains(change.name)))
        now.insert(change.name);
    regressed = std::move(now);
    if (changes.size() < baseline.size())
      fmt::print(out, "{} ratio(s) of the baseline were not measured\n",
                 baseline.size() - changes.size());
    if (regressed.empty()) {
      fmt::print(out, "slat bench {}: no ratio is worse by more than {:g} %\n", name,
                 options.threshold);
      return exit_success;
    }
    if (attempt == options.attempts) break;
    fmt::print(out, "slat bench {}: {} ratio(s) look worse; measuring again ({} of {})\n", name,
               regressed.size(), attempt + 1, options.attempts);
    first = {.bench = std::string(name)};
    if (const int code = measure(first); code != exit_success) return code;
  }
  for (const std::string& ratio : regressed)
    fmt::print(stderr, "slat: bench {}: {} is worse by more than {:g} % than in '{}'\n", name,
               ratio, options.threshold, options.compare);
  return exit_failed_verdict;
}

/// Returns the exit code.
int run_benchmark(std::string_view name, const BenchOptions& options, const Measure& measure,
                  const std::function<void(const BenchReport&)>& text) {
  Baseline baseline;
  if (!options.compare.empty())
    if (const int code = read_baseline(options, name, baseline); code != exit_success) return code;
  BenchReport report{.bench = std::string(name)};
  const int code = measure(report);
  const std::optional<int> signal = pending_signal();
  if (code != exit_success && !signal) return code;
  if (!report.figures.empty()) {
    if (options.json)
      fmt::print("{}\n", to_json(report).dump());
    else if (text)
      text(report);
    else
      fmt::print("{}", to_text(report));
  }
  if (signal) {
    fmt::print(stderr, "slat: bench {}: interrupted{}\n", name,
               report.figures.empty() ? ", nothing to report"
                                      : "; above is what there was by then");
    return 128 + *signal;
  }
  if (options.compare.empty()) return exit_success;
  return compare_and_repeat(name, options, measure, baseline, std::move(report));
}

} // namespace

void BenchOptions::add_to(CLI::App& command) {
  command.add_option("--rounds", rounds, "Measured rounds; one more warms up")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command.add_flag("--json", json, "One JSON object");
  auto* const file = command.add_option(
      "--compare", compare, "FILE of an earlier --json: exit code 1 if a ratio is worse now");
  command.add_option("--threshold", threshold, "How much worse, in percent")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 1000.0))
      ->needs(file);
  command
      .add_option("--attempts", attempts, "How often a worse ratio is measured before it counts")
      ->capture_default_str()
      ->check(CLI::Range(1, 100))
      ->needs(file);
}

void add_benchmark(CLI::App& command, Command& run, std::shared_ptr<const BenchOptions> options,
                   Measure measure, std::function<void(const BenchReport&)> text) {
  command.callback([name = command.get_name(), options = std::move(options),
                    measure = std::move(measure), text = std::move(text),
                    &run] { run = [=] { return run_benchmark(name, *options, measure, text); }; });
}

} // namespace slat::tool
