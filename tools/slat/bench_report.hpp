// What a benchmark has found, in the one form that all of them print: figures, and ratios of figures that were measured
// in turn within one run. Ratios alone are compared with another run's: times are the machine's, ratios are slat's.
#pragma once

#include "slat/commands.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slat::tool {

/// The middle of the values (of the middle two, the mean); 0 if there are none.
[[nodiscard]] double median(std::vector<double> values);

/// a[i] / b[i], as far as both have values.
[[nodiscard]] std::vector<double> quotients(const std::vector<double>& a,
                                            const std::vector<double>& b);

enum class Better { higher, lower };

using Labels = nlohmann::ordered_json;

struct Figure {
  std::string name; // parts separated by '/', unique within the benchmark
  std::string unit;
  std::vector<double> samples; // one of each round
  Labels labels = Labels::object();
};

struct Ratio {
  std::string name; // "what:against what"
  std::vector<double> samples;
  Better better = Better::higher;
  std::optional<double> goal = {}; // at least that, or at most
  Labels labels = Labels::object();

  [[nodiscard]] bool meets_goal() const;
};

/// In order of addition.
struct BenchReport {
  std::string bench;
  Labels options = Labels::object();
  std::vector<Figure> figures = {};
  std::vector<Ratio> ratios = {};

  /// Adds both figures' quotient, round by round; both are there.
  void add_ratio(std::string name, std::string_view numerator, std::string_view denominator,
                 Better better, std::optional<double> goal = {}, Labels labels = Labels::object());
  [[nodiscard]] const Figure* figure(std::string_view name) const;
};

/// What `host` is there.
[[nodiscard]] Labels bench_host();
/// The document of --json; schema "slat-bench/1".
[[nodiscard]] Labels to_json(const BenchReport& report);
/// Two tables, of at most 80 columns where names are no longer than 32 characters.
[[nodiscard]] std::string to_text(const BenchReport& report);

struct BenchOptions {
  unsigned rounds = 5;
  bool json = false;
  std::string compare; // a file of an earlier run, or of several; empty: none
  double threshold = 15;
  unsigned attempts = 3;

  void add_to(CLI::App& command);
};

/// Fills the report, whose name is set; returns an exit code, with the message printed if it is not 0. What it has
/// found when a signal ended it is kept.
using Measure = std::function<int(BenchReport&)>;

/// What `command` does then: measures, prints, compares. `text`: prints the report instead of to_text().
void add_benchmark(CLI::App& command, Command& run, std::shared_ptr<const BenchOptions> options,
                   Measure measure, std::function<void(const BenchReport&)> text = {});

/// The same with the benchmark's own options, whose `bench` these are.
template <class Options>
void add_benchmark(CLI::App& command, Command& run, const std::shared_ptr<Options>& options,
                   int (*measure)(const Options&, BenchReport&)) {
  add_benchmark(command, run, std::shared_ptr<const BenchOptions>(options, &options->bench),
                [options, measure](BenchReport& out) { return measure(*options, out); });
}

} // namespace slat::tool
