#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

std::string number_with_unit(double value, const std::string& unit) {
  if (unit == "ns") return short_time(value);
  if (unit == "bytes") return short_bytes(value);
  return short_number(value) + (unit.empty() ? "" : " " + unit);
}

std::string figures_table(const BenchResult& result) {
  if (result.figures.empty()) return {};
  std::string out =
      "<details><summary>All figures</summary><div class=\"scroll\"><table "
      "class=\"facts\"><tr><th>figure</th><td>median</td><td>from</td><td>to</td></tr>\n";
  for (const Figure& figure : result.figures)
    out +=
        fmt::format("<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n", escaped(figure.name),
                    escaped(number_with_unit(figure.value.median, figure.unit)),
                    escaped(number_with_unit(figure.value.min, figure.unit)),
                    escaped(number_with_unit(figure.value.max, figure.unit)));
  return out + "</table></div></details>\n";
}

std::string facts(const BenchResult& result) {
  std::string out;
  for (const Pairs* const pairs : {&result.host, &result.options})
    for (const auto& [name, value] : *pairs) {
      if (value == "[...]" || value == "{...}") continue;
      out += fmt::format("{}{} {}", out.empty() ? "" : " · ", escaped(name), escaped(value));
    }
  return out.empty() ? out : "<p class=\"hint\">" + out + "</p>\n";
}

} // namespace

bool compares_designs(const BenchResult& result) {
  return std::ranges::any_of(
      result.ratios, [](const Ratio& ratio) { return !label_of(ratio.labels, "design").empty(); });
}

std::string bench_section(const std::vector<BenchResult>& results, const std::string& id) {
  if (results.empty()) return {};
  std::string out = fmt::format("<section id=\"{}\" data-check><h2>slat bench {}</h2>\n", id,
                                escaped(results.front().bench));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results.size() > 1)
      out += fmt::format("<h3><span class=\"key d{0}\"><i></i>run {0}</span></h3>\n", i + 1);
    out += facts(results[i]);
    if (compares_designs(results[i]))
      out += design_matrix(results[i], fmt::format("{}-{}", id, i + 1));
  }
  if (results.size() > 1) out += "<h3>Side by side</h3>\n";
  if (results.size() > 1 || !compares_designs(results.front())) out += ratio_plot(results, id);
  for (const BenchResult& result : results) out += figures_table(result);
  return out + "</section>\n";
}

} // namespace slat::reporting
