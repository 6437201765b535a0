#include "slat/bench_compare.hpp"

#include "slat/json_structure.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::tool {

std::variant<Baseline, std::string> parse_baseline(const std::string& text,
                                                   std::string_view bench) {
  if (const std::string_view wrong = structure_error(text); !wrong.empty())
    return std::string(wrong);
  const Labels json = Labels::parse(text, nullptr, false);
  if (json.is_discarded()) return "not JSON; give what `slat bench --json` has printed";
  Baseline baseline;
  bool found = false;
  const Labels array = Labels::array({json});
  for (const Labels& run : json.is_array() ? json : array) {
    if (!run.is_object() || run.value("schema", Labels()) != "slat-bench/1")
      return "not a document of `slat bench --json`, or an array of them";
    if (run.value("bench", Labels()) != std::string(bench)) continue;
    found = true;
    const Labels ratios = run.value("ratios", Labels::array());
    if (!ratios.is_array()) return "its \"ratios\" is not an array";
    for (const Labels& ratio : ratios) {
      if (!ratio.is_object() || !ratio.contains("name") || !ratio["name"].is_string() ||
          !ratio.contains("median") || !ratio["median"].is_number())
        return "a ratio in it lacks a name or a median";
      baseline[ratio["name"].get<std::string>()] = ratio["median"].get<double>();
    }
  }
  if (!found) return fmt::format("it has no run of `slat bench {}`", bench);
  return baseline;
}

std::vector<Change> compare(const BenchReport& report, const Baseline& baseline, double threshold) {
  std::vector<Change> changes;
  for (const Ratio& ratio : report.ratios) {
    const auto before = baseline.find(ratio.name);
    if (before == baseline.end() || before->second == 0) continue;
    const double now = median(ratio.samples);
    const double growth = 100 * (now - before->second) / before->second;
    const double worse = ratio.better == Better::higher ? -growth : growth;
    changes.push_back({ratio.name, before->second, now, worse, worse > threshold});
  }
  return changes;
}

std::string to_text(const std::vector<Change>& changes) {
  std::size_t width = 8;
  for (const Change& change : changes) width = std::max(width, change.name.size());
  std::string text =
      fmt::format("{:<{}} {:>9} {:>9} {:>8}\n", "ratio", width, "before", "now", "worse");
  for (const Change& change : changes)
    text +=
        fmt::format("{:<{}} {:>9.3f} {:>9.3f} {:>+7.1f}%{}\n", change.name, width, change.before,
                    change.now, change.worse_percent, change.regressed ? "  REGRESSED" : "");
  return text;
}

} // namespace slat::tool
