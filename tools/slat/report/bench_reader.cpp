#include "slat/report/fields.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

constexpr std::size_t most_entries = 20'000;

Spread read_spread(const Fields& fields) {
  Spread spread{fields.number("median"), fields.number("min"), fields.number("max")};
  if (!(spread.min <= spread.median && spread.median <= spread.max))
    fields.wrong("median", "is not between min and max");
  return spread;
}

/// A null is what JSON has for the ratio of nothing to nothing.
bool says_nothing(const Fields& fields) {
  return fields.is_null("median");
}

Pairs read_labels(const Fields& fields) {
  return fields.has("labels") ? fields.pairs("labels") : Pairs();
}

} // namespace

double Ratio::advantage() const {
  const double octaves = std::log2(std::clamp(value.median, 1e-3, 1e3));
  switch (better) {
  case Better::higher:
    return octaves;
  case Better::lower:
    return -octaves;
  case Better::one:
    break;
  }
  return -std::abs(octaves);
}

bool Ratio::misses_goal() const {
  if (!goal || better == Better::one) return false;
  return better == Better::higher ? value.median < *goal : value.median > *goal;
}

Spread range_of(const std::vector<Ratio>& ratios) {
  Spread range{1, 0.8, 1.25};
  for (const Ratio& ratio : ratios) {
    range.min = std::min({range.min, ratio.value.min, ratio.goal.value_or(1)});
    range.max = std::max({range.max, ratio.value.max, ratio.goal.value_or(1)});
  }
  return {1, std::max(range.min, 1e-3), std::min(range.max, 1e3)};
}

std::string label_of(const Pairs& labels, std::string_view name) {
  const auto found = std::ranges::find(labels, name, &Pairs::value_type::first);
  return found == labels.end() ? std::string() : found->second;
}

std::string cell_of(const Pairs& labels, std::string_view without, const std::string& name) {
  std::string cell;
  for (const auto& [key, value] : labels) {
    if (key == without) continue;
    if (!cell.empty()) cell += " · ";
    // A number alone says nothing.
    const bool is_number = !value.empty() && value.find_first_not_of("0123456789.") == value.npos;
    cell += is_number ? fmt::format("{} {}", key, value) : value;
  }
  std::ranges::replace(cell, '_', ' ');
  return cell.empty() ? name : cell;
}

BenchResult read_bench_result(const Fields& document) {
  BenchResult result;
  result.bench = document.text("bench");
  result.version = document.text("version");
  if (document.has("host")) result.host = document.pairs("host");
  if (document.has("options")) result.options = document.pairs("options");
  if (document.has("figures"))
    for (const Fields& entry : document.objects("figures", most_entries)) {
      if (!document.ok()) break;
      if (says_nothing(entry)) continue;
      result.figures.push_back(
          {entry.text("name"), entry.text("unit"), read_spread(entry), read_labels(entry)});
    }
  if (document.has("ratios"))
    for (const Fields& entry : document.objects("ratios", most_entries)) {
      if (!document.ok()) break;
      if (says_nothing(entry)) continue;
      Ratio ratio;
      ratio.name = entry.text("name");
      ratio.value = read_spread(entry);
      const std::string better = entry.has("better") ? entry.text("better") : "higher";
      if (better == "higher")
        ratio.better = Better::higher;
      else if (better == "lower")
        ratio.better = Better::lower;
      else if (better == "one")
        ratio.better = Better::one;
      else
        entry.wrong("better", "is not \"higher\", \"lower\" or \"one\"");
      if (entry.has("goal")) ratio.goal = entry.number("goal");
      ratio.labels = read_labels(entry);
      result.ratios.push_back(std::move(ratio));
    }
  return result;
}

} // namespace slat::reporting
