#include "slat/report/plot.hpp"
#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace slat::reporting {

namespace {

struct Line {
  const char* column;
  const char* name;
};

struct Chart {
  const char* id;
  const char* title;
  const char* note;
  std::vector<Line> lines; // of colours 1, 2 ...
  bool is_rate = true;     // else the values themselves, in bytes
};

const std::vector<Chart>& charts() {
  static const std::vector<Chart> charts{
      {"faults",
       "Faults",
       "per second",
       {{"stage2_fault_count", "served"},
        {"fault_retry_count", "retries"},
        {"fault_wait_count", "waits"}}},
      {"invalidations", "Invalidations", "ranges per second", {{"invalidate_count", "started"}}},
      {"pages",
       "Pages",
       "per second",
       {{"installed_pages", "installed"}, {"invalidated_pages", "invalidated"}}},
      {"reclaim",
       "Reclaim",
       "pages per second",
       {{"reclaimed_pages", "reclaimed"}, {"restored_pages", "restored"}}},
      {"tracking",
       "Write tracking",
       "pages per second",
       {{"write_tracked_pages", "protected"}, {"tracked_write_count", "written"}}},
      {"moves",
       "Migrated and freed",
       "pages per second",
       {{"migrated_pages", "migrated"}, {"freed_pages", "freed"}}},
      {"locks",
       "Lock and TLB",
       "per second",
       {{"mm_lock_fallback_count", "faults under the mm lock"}, {"tlb_flush_count", "flushes"}}},
      {"visits", "Guest progress", "page visits per second", {{"page_visit_count", "visits"}}},
      {"resident", "Host memory of the guest", "", {{"resident_bytes", "resident"}}, false},
  };
  return charts;
}

/// Nothing where nothing happened.
std::string chart_of(const Series& series, const Chart& chart, const std::string& id) {
  struct Drawn {
    const Line* line;
    std::vector<double> values;
  };

  std::vector<Drawn> drawn;
  double most = 0;
  for (const Line& line : chart.lines) {
    const Series::Column* const column = series.find(line.column);
    if (column == nullptr) continue;
    std::vector<double> values = chart.is_rate ? series.rate(*column) : column->values;
    if (!chart.is_rate) values.erase(values.begin());
    most = std::max(most, *std::ranges::max_element(values));
    drawn.push_back({&line, std::move(values)});
  }
  if (most <= 0) return {};

  const double end = series.time_s.back();
  const LinearScale y =
      chart.is_rate ? LinearScale::from_zero(most) : LinearScale::from_zero(most / 1048576);
  Plot plot{.id = id + "-" + chart.id, .title = chart.title, .note = chart.note, .kind = "small"};
  plot.x = time_ticks(end);
  plot.y = y.ticks(5, [&](double value) {
    return chart.is_rate ? short_number(value) : short_bytes(value * 1048576);
  });
  nlohmann::ordered_json data{{"x", nlohmann::json::array()},
                              {"unit", chart.is_rate ? "/s" : "bytes"},
                              {"lines", nlohmann::json::array()}};
  for (std::size_t i = 1; i < series.time_s.size(); ++i) data["x"].push_back(series.time_s[i]);
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const std::string colour = fmt::format("var(--c{})", drawn[i].line - chart.lines.data() + 1);
    std::vector<Place> places;
    nlohmann::ordered_json values = nlohmann::json::array();
    for (std::size_t at = 0; at < drawn[i].values.size(); ++at) {
      const double value = drawn[i].values[at];
      places.push_back(
          {series.time_s[at + 1] / end, y.place(chart.is_rate ? value : value / 1048576)});
      values.push_back(std::round(value * 10) / 10);
    }
    std::string path = line_path(places);
    if (drawn.size() == 1)
      plot.drawing +=
          fmt::format("<path class=\"fill\" style=\"fill:{}\" d=\"{}L{}L{}z\"/>\n", colour, path,
                      coordinates(places.back().x, 0), coordinates(places.front().x, 0));
    plot.drawing +=
        fmt::format("<path class=\"line\" style=\"stroke:{}\" d=\"{}\"/>\n", colour, path);
    data["lines"].push_back({{"name", drawn[i].line->name}, {"y", std::move(values)}});
    if (drawn.size() > 1) plot.below += legend_entry(colour, drawn[i].line->name);
  }
  if (!plot.below.empty()) plot.below = "<div class=\"legend\">" + plot.below + "</div>\n";
  plot.label = fmt::format("{} over time", chart.title);
  plot.data = data.dump();
  return html_of(plot);
}

} // namespace

std::string series_section(const Recording& recording, const std::string& id) {
  if (recording.series.time_s.size() < 3) return {};
  std::string charts_html;
  for (const Chart& chart : charts()) charts_html += chart_of(recording.series, chart, id);
  if (charts_html.empty()) return {};
  return fmt::format("<section id=\"{}-series\" data-check><h3>Over time</h3>\n"
                     "<div class=\"grid-of-charts\">\n{}</div></section>\n",
                     id, charts_html);
}

} // namespace slat::reporting
