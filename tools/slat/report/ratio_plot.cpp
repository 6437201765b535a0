#include "slat/report/scale.hpp"
#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <string_view>

namespace slat::reporting {

namespace {

std::string row_of(const std::vector<BenchResult>& results, const Ratio& first,
                   const LogScale& scale) {
  std::string out =
      fmt::format("<div class=\"ratio\"><span class=\"name\">{}{}</span><span class=\"track\">",
                  escaped(first.name),
                  first.better == Better::higher  ? ""
                  : first.better == Better::lower ? " <small>lower is better</small>"
                                                  : " <small>1 is best</small>");
  out += fmt::format("<u style=\"left:{:.2f}%\"></u>", 100 * scale.place(1));
  if (first.goal)
    out += fmt::format("<s style=\"left:{:.2f}%\" title=\"goal {}\"></s>",
                       100 * scale.place(*first.goal), short_number(*first.goal));
  std::string values;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto found = std::ranges::find(results[i].ratios, first.name, &Ratio::name);
    if (found == results[i].ratios.end()) continue;
    const Spread& value = found->value;
    const double from = 100 * scale.place(value.min);
    const double top =
        50 + 100.0 * (double(i) - double(results.size() - 1) / 2) / double(results.size() + 1);
    out += fmt::format("<i class=\"d{0}\" style=\"left:{1:.2f}%;width:{2:.2f}%;top:{3:.0f}%\"></i>"
                       "<b class=\"d{0}\" style=\"left:{4:.2f}%;top:{3:.0f}%\" title=\"{5}: {6} to "
                       "{7}\"></b>",
                       i % 8 + 1, from, 100 * scale.place(value.max) - from, top,
                       100 * scale.place(value.median), short_number(value.median),
                       short_number(value.min), short_number(value.max));
    values += fmt::format("{}<span class=\"{}\">{:.3g}{}</span>", values.empty() ? "" : " ",
                          found->misses_goal() ? "missed" : "", value.median,
                          found->misses_goal() ? " ✗" : "");
  }
  return out + "</span><span class=\"value\">" + values + "</span></div>\n";
}

} // namespace

std::string ratio_plot(const std::vector<BenchResult>& results, const std::string& id) {
  Spread range{1, 1, 1};
  std::vector<const Ratio*> rows;
  std::set<std::string_view> names;
  for (const BenchResult& result : results) {
    const Spread its = range_of(result.ratios);
    range = {1, std::min(range.min, its.min), std::max(range.max, its.max)};
    for (const Ratio& ratio : result.ratios)
      if (names.insert(ratio.name).second) rows.push_back(&ratio);
  }
  if (rows.empty()) return {};
  const LogScale scale(range.min / 1.05, range.max * 1.05);
  std::string out =
      fmt::format("<div class=\"ratios\" id=\"{}-ratios\" style=\"--values:{}\" data-check>\n", id,
                  results.size());
  for (const Ratio* const row : rows) out += row_of(results, *row, scale);
  out += "<div class=\"ratio axis\"><span class=\"name\"></span><span class=\"track\">";
  for (const Tick& tick : scale.ticks(6, short_number))
    out += fmt::format("<span class=\"xt\" style=\"left:{:.2f}%\">{}</span>", 100 * tick.at,
                       tick.label);
  return out +
         "</span><span class=\"value\"></span></div></div>\n<p class=\"hint\">Ratios within a "
         "run, log scale: a dot is the median, a line spans all rounds, the long tick is 1, a "
         "triangle the goal.</p>\n";
}

} // namespace slat::reporting
