#include "slat/report/scale.hpp"
#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace slat::reporting {

namespace {

std::string two_digits(double ratio) {
  return ratio >= 99.5 || ratio < 0.095 ? short_number(ratio) : fmt::format("{:.2f}", ratio);
}

/// Blue where it is better, vermilion where it is worse: the more, the stronger; a quarter or four times is all of it.
std::string background(double advantage) {
  const double strength = std::min(1.0, std::abs(advantage) / 2);
  if (strength < 0.02) return {};
  return fmt::format("background:rgba({},{:.2f})", advantage > 0 ? "0,114,178" : "213,94,0",
                     0.1 + 0.6 * strength);
}

template <class T> void add_once(std::vector<T>& list, const T& value) {
  if (std::ranges::find(list, value) == list.end()) list.push_back(value);
}

struct Cells {
  std::vector<std::string> rows;
  std::vector<std::string> baselines; // designs that have figures and no ratio
  std::vector<std::string> designs;   // of the ratios
};

Cells cells_of(const BenchResult& result) {
  Cells cells;
  for (const Ratio& ratio : result.ratios) {
    const std::string design = label_of(ratio.labels, "design");
    if (design.empty()) continue;
    add_once(cells.rows, cell_of(ratio.labels, "design", ratio.name));
    add_once(cells.designs, design);
  }
  for (const Figure& figure : result.figures) {
    const std::string design = label_of(figure.labels, "design");
    if (!design.empty() && std::ranges::find(cells.designs, design) == cells.designs.end())
      add_once(cells.baselines, design);
  }
  return cells;
}

std::string figure_cell(const BenchResult& result, const std::string& row,
                        const std::string& design) {
  for (const Figure& figure : result.figures)
    if (label_of(figure.labels, "design") == design &&
        cell_of(figure.labels, "design", figure.name) == row)
      return fmt::format("<td class=\"base\">{} <small>{}</small></td>",
                         escaped(short_number(figure.value.median)), escaped(figure.unit));
  return "<td>–</td>";
}

std::string ratio_cell(const BenchResult& result, const std::string& row, const std::string& design,
                       const LogScale& scale) {
  for (const Ratio& ratio : result.ratios) {
    if (label_of(ratio.labels, "design") != design ||
        cell_of(ratio.labels, "design", ratio.name) != row)
      continue;
    const double from = 100 * scale.place(ratio.value.min);
    const double to = 100 * scale.place(ratio.value.max);
    const std::string goal =
        ratio.goal ? fmt::format(" <small class=\"{}\">{} goal {}</small>",
                                 ratio.misses_goal() ? "missed" : "met",
                                 ratio.misses_goal() ? "✗" : "✓", two_digits(*ratio.goal))
                   : std::string();
    return fmt::format(
        "<td style=\"{}\" title=\"{}: {} to {}, {} is better\"><b>{}</b>{}<span class=\"spread\">"
        "<u style=\"left:{:.1f}%\"></u><i style=\"left:{:.1f}%;width:{:.1f}%\"></i>"
        "<em style=\"left:{:.1f}%\"></em></span><small>{}–{}</small></td>",
        background(ratio.advantage()), escaped(ratio.name), two_digits(ratio.value.min),
        two_digits(ratio.value.max),
        ratio.better == Better::higher  ? "higher"
        : ratio.better == Better::lower ? "lower"
                                        : "one",
        two_digits(ratio.value.median), goal, 100 * scale.place(1), from, std::max(to - from, 1.0),
        100 * scale.place(ratio.value.median), two_digits(ratio.value.min),
        two_digits(ratio.value.max));
  }
  return "<td>–</td>";
}

} // namespace

std::string design_matrix(const BenchResult& result, const std::string& id) {
  const Cells cells = cells_of(result);
  const Spread range = range_of(result.ratios);
  const LogScale scale(range.min, range.max);
  std::string out = fmt::format("<div class=\"scroll\" id=\"{}-matrix\" data-check><table "
                                "class=\"matrix\">\n<thead><tr><th></th>",
                                id);
  for (const std::string& design : cells.baselines)
    out += fmt::format("<th scope=\"col\">{}</th>", escaped(design));
  for (const std::string& design : cells.designs)
    out += fmt::format("<th scope=\"col\">{}</th>", escaped(design));
  out += "</tr></thead>\n<tbody>\n";
  for (const std::string& row : cells.rows) {
    out += fmt::format("<tr><th scope=\"row\">{}</th>", escaped(row));
    for (const std::string& design : cells.baselines) out += figure_cell(result, row, design);
    for (const std::string& design : cells.designs) out += ratio_cell(result, row, design, scale);
    out += "</tr>\n";
  }
  return out +
         "</tbody></table></div>\n<p class=\"hint\">Medians of ratios within a run. Bars span all "
         "rounds, a tick is 1. <span class=\"swatch better\"></span> better, <span "
         "class=\"swatch worse\"></span> worse than what it is compared with.</p>\n";
}

} // namespace slat::reporting
