#include "slat/report/fields.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

constexpr std::size_t most_entries = 20'000;

Spread read_spread(const Fields& fields, double least) {
  Spread spread{fields.number("median", least), fields.number("min", least),
                fields.number("max", least)};
  if (!(spread.min <= spread.median && spread.median <= spread.max))
    fields.wrong("median", "is not between min and max");
  return spread;
}

Pairs read_labels(const Fields& fields) {
  return fields.has("labels") ? fields.pairs("labels") : Pairs();
}

} // namespace

double Ratio::advantage() const {
  return higher_is_better ? std::log2(value.median) : -std::log2(value.median);
}

bool Ratio::misses_goal() const {
  if (!goal) return false;
  return higher_is_better ? value.median < *goal : value.median > *goal;
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
  constexpr double least_ratio = 1e-9;
  BenchResult result;
  result.bench = document.text("bench");
  result.version = document.text("version");
  if (document.has("host")) result.host = document.pairs("host");
  if (document.has("options")) result.options = document.pairs("options");
  if (document.has("figures"))
    for (const Fields& entry : document.objects("figures", most_entries)) {
      if (!document.ok()) break;
      result.figures.push_back(
          {entry.text("name"), entry.text("unit"), read_spread(entry, 0), read_labels(entry)});
    }
  if (document.has("ratios"))
    for (const Fields& entry : document.objects("ratios", most_entries)) {
      if (!document.ok()) break;
      Ratio ratio;
      ratio.name = entry.text("name");
      ratio.value = read_spread(entry, least_ratio);
      const std::string better = entry.has("better") ? entry.text("better") : "higher";
      if (better != "higher" && better != "lower")
        entry.wrong("better", "is neither \"higher\" nor \"lower\"");
      ratio.higher_is_better = better == "higher";
      if (entry.has("goal")) ratio.goal = entry.number("goal", least_ratio);
      ratio.labels = read_labels(entry);
      result.ratios.push_back(std::move(ratio));
    }
  return result;
}

} // namespace slat::reporting
