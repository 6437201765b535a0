#include "slat/bench_report.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <thread>

namespace slat::tool {

namespace {

struct Spread {
  double median, min, max;
};

Spread spread(const std::vector<double>& samples) {
  if (samples.empty()) return {};
  const auto [low, high] = std::minmax_element(samples.begin(), samples.end());
  return {median(samples), *low, *high};
}

/// Four digits, and a thousands letter: 12.34k.
std::string human(double value) {
  const double size = value < 0 ? -value : value;
  const auto scaled = [&](double unit, std::string_view letter) {
    const double v = value / unit;
    const double s = size / unit;
    return fmt::format("{:.{}f}{}", v, s >= 100 ? 1 : s >= 10 ? 2 : 3, letter);
  };
  if (size >= 1e9) return scaled(1e9, "G");
  if (size >= 1e6) return scaled(1e6, "M");
  if (size >= 1e4) return scaled(1e3, "k");
  return scaled(1, "");
}

std::string goal_text(const Ratio& ratio) {
  if (!ratio.goal) return {};
  return fmt::format("  {} {:.4g}: {}", ratio.better == Better::higher ? ">=" : "<=", *ratio.goal,
                     ratio.meets_goal() ? "met" : "not met");
}

} // namespace

Labels bench_host() {
  utsname name{};
  (void)uname(&name); // an empty release then
  return {{"cpus", std::thread::hardware_concurrency()}, {"kernel", name.release}};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<double> quotients(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> values;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    values.push_back(b[i] == 0 ? 0 : a[i] / b[i]);
  return values;
}

bool Ratio::meets_goal() const {
  if (!goal) return true;
  return better == Better::higher ? median(samples) >= *goal : median(samples) <= *goal;
}

const Figure* BenchReport::figure(std::string_view name) const {
  const auto found = std::find_if(figures.begin(), figures.end(),
                                  [&](const Figure& figure) { return figure.name == name; });
  return found == figures.end() ? nullptr : &*found;
}

void BenchReport::add_ratio(std::string name, std::string_view numerator,
                            std::string_view denominator, Better better, std::optional<double> goal,
                            Labels labels) {
  const Figure* const a = figure(numerator);
  const Figure* const b = figure(denominator);
  if (a == nullptr || b == nullptr) return; // an interrupted run
  if (std::vector<double> samples = quotients(a->samples, b->samples); !samples.empty())
    ratios.push_back({std::move(name), std::move(samples), better, goal, std::move(labels)});
}

Labels to_json(const BenchReport& report) {
  Labels json = {{"schema", "slat-bench/1"},   {"bench", report.bench},
                 {"version", SLAT_VERSION},    {"host", bench_host()},
                 {"options", report.options},  {"rounds", 0},
                 {"figures", Labels::array()}, {"ratios", Labels::array()}};
  std::size_t rounds = 0;
  for (const Figure& figure : report.figures) {
    rounds = std::max(rounds, figure.samples.size());
    const Spread s = spread(figure.samples);
    json["figures"].push_back({{"name", figure.name},
                               {"unit", figure.unit},
                               {"median", s.median},
                               {"min", s.min},
                               {"max", s.max},
                               {"labels", figure.labels}});
  }
  for (const Ratio& ratio : report.ratios) {
    const Spread s = spread(ratio.samples);
    Labels row = {{"name", ratio.name}, {"median", s.median}, {"min", s.min}, {"max", s.max}};
    row["better"] = ratio.better == Better::higher ? "higher" : "lower";
    if (ratio.goal) row["goal"] = *ratio.goal;
    row["labels"] = ratio.labels;
    json["ratios"].push_back(std::move(row));
  }
  json["rounds"] = rounds;
  return json;
}

std::string to_text(const BenchReport& report) {
  std::size_t width = 8;
  for (const Figure& figure : report.figures) width = std::max(width, figure.name.size());
  for (const Ratio& ratio : report.ratios) width = std::max(width, ratio.name.size());
  std::string text;
  const auto row = [&](std::string_view name, const auto& a, const auto& b, const auto& c,
                       std::string_view rest) {
    text += fmt::format("{:<{}} {:>9} {:>9} {:>9}  {}\n", name, width, a, b, c, rest);
  };
  if (!report.figures.empty()) row("", "median", "min", "max", "unit");
  for (const Figure& figure : report.figures) {
    const Spread s = spread(figure.samples);
    row(figure.name, human(s.median), human(s.min), human(s.max), figure.unit);
  }
  if (!report.ratios.empty()) row("\nratio, of the same round", "median", "min", "max", "goal");
  for (const Ratio& ratio : report.ratios) {
    const Spread s = spread(ratio.samples);
    const auto number = [](double value) { return fmt::format("{:.3f}", value); };
    row(ratio.name, number(s.median), number(s.min), number(s.max), goal_text(ratio));
  }
  return text;
}

} // namespace slat::tool
