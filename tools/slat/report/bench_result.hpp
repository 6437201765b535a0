// The result of a benchmark (slat-bench/1), read and checked: what `slat bench X --json` writes.
#pragma once

#include "slat/report/recording.hpp"

#include <optional>
#include <string>
#include <vector>

namespace slat::reporting {

struct Spread {
  double median = 0, min = 0, max = 0;
};

struct Figure {
  std::string name, unit;
  Spread value;
  Pairs labels;
};

/// What is good about a ratio; `one`: to be near 1, as a model is that says what was measured.
enum class Better { higher, lower, one };

struct Ratio {
  std::string name;
  Spread value;
  Better better = Better::higher;
  std::optional<double> goal;
  Pairs labels;

  /// By how much it is better than 1, as a power of two: -1 is half as good. A thousand times is the most. Never better where
  /// 1 is the best.
  [[nodiscard]] double advantage() const;
  [[nodiscard]] bool misses_goal() const;
};

struct BenchResult {
  std::string bench, version;
  Pairs host, options;
  std::vector<Figure> figures;
  std::vector<Ratio> ratios;
};

/// Where all of them are on a scale of ratios, goals too: around 1, and to a thousand times at most.
[[nodiscard]] Spread range_of(const std::vector<Ratio>& ratios);

/// The value of a label; empty if it has none.
[[nodiscard]] std::string label_of(const Pairs& labels, std::string_view name);

/// The labels but one, in words; `name` if that leaves none.
[[nodiscard]] std::string cell_of(const Pairs& labels, std::string_view without,
                                  const std::string& name);

} // namespace slat::reporting
