// One run's ratios against those of an earlier one.
#pragma once

#include "slat/bench_report.hpp"

#include <map>
#include <string>
#include <variant>
#include <vector>

namespace slat::tool {

/// The medians of an earlier run's ratios, by name.
using Baseline = std::map<std::string, double>;

/// What stands about `bench` in a document of to_json(), or in an array of those. The error is a line for the user.
[[nodiscard]] std::variant<Baseline, std::string> parse_baseline(const std::string& text,
                                                                 std::string_view bench);

struct Change {
  std::string name;
  double before, now;
  double worse_percent; // negative: better
  bool regressed;
};

/// Of the ratios that both have. Regressed: worse by more than `threshold` percent of what it was.
[[nodiscard]] std::vector<Change> compare(const BenchReport& report, const Baseline& baseline,
                                          double threshold);

/// A table of at most 80 columns.
[[nodiscard]] std::string to_text(const std::vector<Change>& changes);

} // namespace slat::tool
