#include "slat/report/plot.hpp"
#include "slat/report/png.hpp"
#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

struct Percentile {
  double fraction;
  const char* name;
};

constexpr std::array percentiles{Percentile{0.5, "p50"}, Percentile{0.9, "p90"},
                                 Percentile{0.99, "p99"}, Percentile{0.999, "p99.9"}};

constexpr double quarter_octave = 1.189207115002721; // 2^(1/4): a bar's width

/// Bars of a quarter of an octave each: counts by the power of 2^(1/4) that they end at.
struct Bars {
  int first = 0;
  std::vector<double> counts;

  [[nodiscard]] double low() const { return std::pow(quarter_octave, first); }

  [[nodiscard]] double high() const { return std::pow(quarter_octave, first + int(counts.size())); }
};

int bar_of(double ns) {
  return int(std::floor(std::log2(std::max(ns, 1.0)) * 4 + 1e-9));
}

Bars bars_of(const Latency& latency) {
  Bars bars;
  if (latency.buckets.empty()) return bars;
  bars.first = bar_of(latency.buckets.front().upper_ns);
  bars.counts.resize(std::size_t(bar_of(latency.buckets.back().upper_ns) - bars.first) + 1);
  for (const Latency::Bucket& bucket : latency.buckets)
    bars.counts[std::size_t(bar_of(bucket.upper_ns) - bars.first)] += bucket.count;
  return bars;
}

std::string histogram(const Latency& latency, const std::string& id, const char* title) {
  const Bars bars = bars_of(latency);
  if (bars.counts.empty()) return {};
  const double most = *std::ranges::max_element(bars.counts);
  const LogScale x(bars.low(), bars.high());
  const LogScale y(0.5, std::max(most, 1.0) * 1.3); // half a one, so that one is seen
  Plot plot{.id = id, .title = title, .kind = "histogram"};
  plot.note = fmt::format("{} timed{}, log-log", grouped_number(latency.count()),
                          latency.one_in > 1 ? fmt::format(", one in {}", latency.one_in) : "");
  plot.x = x.ticks(5, short_time);
  plot.y = y.ticks(5, short_number);
  for (std::size_t i = 0; i < bars.counts.size(); ++i) {
    if (bars.counts[i] <= 0) continue;
    const double from = std::pow(quarter_octave, bars.first + int(i));
    plot.drawing += fmt::format(
        "<path class=\"bar\" d=\"{}\"><title>{} to {}: {}</title></path>\n",
        box_path(x.place(from), x.place(from * quarter_octave), 0, y.place(bars.counts[i])),
        short_time(from), short_time(from * quarter_octave), grouped_number(bars.counts[i]));
  }
  plot.below = "<table class=\"percentiles\"><tr>";
  for (std::size_t i = 0; i < percentiles.size(); ++i) {
    const double value = latency.percentile(percentiles[i].fraction);
    const double at = x.place(value);
    plot.drawing +=
        fmt::format("<path class=\"mark m{}\" d=\"M{}V0\"/>\n", i + 1, coordinates(at, 0));
    plot.marks += fmt::format("<span class=\"flag m{}{}\" style=\"left:{:.2f}%\">{}</span>", i + 1,
                              at > 0.8 ? " left" : "", 100 * at, percentiles[i].name);
    plot.below += fmt::format("<td><b class=\"m{}\">{}</b> {}</td>", i + 1, percentiles[i].name,
                              short_time(value));
  }
  plot.below += fmt::format("<td><b>max</b> {}</td></tr></table>\n",
                            short_time(latency.buckets.back().upper_ns));
  plot.label =
      fmt::format("Histogram of {}: p50 {}, p99 {}", title, short_time(latency.percentile(0.5)),
                  short_time(latency.percentile(0.99)));
  return html_of(plot);
}

/// What came between two times.
Latency between(const LatencySeries& series, std::size_t from, std::size_t to) {
  Latency latency;
  for (std::size_t i = 0; i < series.upper_ns.size(); ++i)
    if (const double count = series.counts[to][i] - series.counts[from][i]; count > 0)
      latency.buckets.push_back({series.upper_ns[i], count});
  return latency;
}

/// A heat map: time to the right, latency upwards, how many by how strong the colour is; and percentiles over it.
std::string over_time(const LatencySeries& series, const std::string& id) {
  if (series.time_s.size() < 3 || series.upper_ns.empty()) return {};
  const int first = bar_of(series.upper_ns.front());
  const auto rows = std::size_t(bar_of(series.upper_ns.back()) - first) + 1;
  const double low = std::pow(quarter_octave, first);
  const LogScale y(low, low * std::pow(quarter_octave, double(rows)));
  const double end = series.time_s.back();

  // Columns are as wide as the steps are apart, as good as that goes.
  const std::size_t columns = std::min<std::size_t>(480, 3 * series.time_s.size());
  std::vector<double> rates(columns * rows);
  std::size_t step = 1;
  for (std::size_t column = 0; column < columns; ++column) {
    const double time = end * (double(column) + 0.5) / double(columns);
    while (step + 1 < series.time_s.size() && series.time_s[step] < time) ++step;
    const double seconds = series.time_s[step] - series.time_s[step - 1];
    for (const Latency::Bucket& bucket : between(series, step - 1, step).buckets)
      rates[column * rows + std::size_t(bar_of(bucket.upper_ns) - first)] += bucket.count / seconds;
  }
  const double most = *std::ranges::max_element(rates);
  if (most <= 0) return {};
  Picture picture(columns, rows);
  for (std::size_t column = 0; column < columns; ++column)
    for (std::size_t row = 0; row < rows; ++row) {
      const double rate = rates[column * rows + row];
      if (rate <= 0) continue;
      const double strength = 0.12 + 0.88 * std::log1p(rate) / std::log1p(most);
      picture.at(column, rows - 1 - row) = {0x2b, 0x7c, 0xc9, std::uint8_t(255 * strength)};
    }

  Plot plot{.id = id,
            .title = "Fault latency over time",
            .note = "how many: the stronger, the more",
            .label = "Heat map of fault latency over time, with p50 and p99",
            .kind = "latency-map"};
  plot.x = time_ticks(end);
  plot.y = y.ticks(6, short_time);
  plot.drawing = fmt::format("<image class=\"cells\" width=\"{0}\" height=\"{0}\" "
                             "preserveAspectRatio=\"none\" href=\"data:image/png;base64,{1}\"/>\n",
                             plot_size, base64(png(picture)));

  struct Quantile {
    double fraction;
    const char* name;
    const char* style;
  };

  for (const Quantile& quantile : {Quantile{0.5, "p50", "m1"}, Quantile{0.99, "p99", "m3"}}) {
    std::vector<Place> places;
    for (std::size_t i = 1; i < series.time_s.size(); ++i)
      if (const Latency latency = between(series, i - 1, i); latency.count() > 0)
        places.push_back({(series.time_s[i - 1] + series.time_s[i]) / 2 / end,
                          y.place(latency.percentile(quantile.fraction))});
    plot.drawing += fmt::format("<path class=\"line quantile {}\" d=\"{}\"/>\n", quantile.style,
                                line_path(places));
    plot.below +=
        fmt::format("<span class=\"key {}\"><i></i>{}</span>", quantile.style, quantile.name);
  }
  plot.below = "<div class=\"legend\">" + plot.below + "</div>\n";
  return html_of(plot);
}

} // namespace

std::string latency_section(const Recording& recording, const std::string& id) {
  const std::string charts =
      histogram(recording.faults, id + "-fault-latency", "Fault latency") +
      histogram(recording.invalidations, id + "-invalidate-latency", "Invalidation latency") +
      over_time(recording.latency_series, id + "-latency-map");
  if (charts.empty()) return {};
  return fmt::format("<section id=\"{}-latency\" data-check><h3>Latency</h3>\n"
                     "<div class=\"pair-of-charts\">\n{}</div></section>\n",
                     id, charts);
}

} // namespace slat::reporting
