#include "slat/report/page.hpp"

#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

/// In the order of their first.
std::vector<std::vector<BenchResult>> by_bench(const std::vector<Document>& documents) {
  std::vector<std::vector<BenchResult>> groups;
  for (const Document& document : documents) {
    const auto* const result = std::get_if<BenchResult>(&document);
    if (result == nullptr) continue;
    const auto group = std::ranges::find_if(
        groups, [&](const auto& others) { return others.front().bench == result->bench; });
    if (group == groups.end())
      groups.push_back({*result});
    else
      group->push_back(*result);
  }
  return groups;
}

/// `alone`: its name and tiles are on the page already.
std::string run_section(const Recording& recording, std::size_t number, bool alone) {
  const std::string id = fmt::format("run-{}", number);
  const std::string head = alone ? std::string("<h2>Run</h2>\n")
                                 : fmt::format("<h2>Run {}: {}</h2>\n{}", number,
                                               escaped(recording.label()), tiles(recording));
  return fmt::format("<section class=\"run\" id=\"{}\" data-check>{}{}{}{}{}</section>\n", id, head,
                     memory_section(recording, id), series_section(recording, id),
                     latency_section(recording, id), details_section(recording));
}

} // namespace

std::string page(const std::vector<Document>& documents, const PageOptions& options) {
  std::vector<Recording> recordings;
  for (const Document& document : documents)
    if (const auto* const recording = std::get_if<Recording>(&document))
      recordings.push_back(*recording);
  const auto benches = by_bench(documents);

  std::string title = options.title;
  if (title.empty() && recordings.size() == 1) title = recordings.front().label();
  if (title.empty() && recordings.empty() && benches.size() == 1)
    title = "slat bench " + benches.front().front().bench;
  if (title.empty()) title = "slat report";

  std::string body;
  std::string links;
  const auto link = [&](const std::string& id, const std::string& text) {
    links += fmt::format("<a href=\"#{}\">{}</a>", id, escaped(text));
  };
  if (!recordings.empty()) link("summary", "summary");
  body += summary_section(recordings);
  for (std::size_t i = 0; i < recordings.size(); ++i) {
    link(fmt::format("run-{}", i + 1),
         recordings.size() == 1 ? "run" : fmt::format("run {}", i + 1));
    body += run_section(recordings[i], i + 1, recordings.size() == 1);
  }
  for (std::size_t i = 0; i < benches.size(); ++i) {
    const std::string id = fmt::format("bench-{}", i + 1);
    link(id, "bench " + benches[i].front().bench);
    body += bench_section(benches[i], id);
  }
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
      "<title>{0}</title>\n<style>\n{1}</style>\n</head>\n<body>\n<header><h1>{0}</h1><nav>{2}</"
      "nav>"
      "</header>\n<main>\n{3}</main>\n<footer>slat report {4}</footer>\n<script>\n{5}</script>\n"
      "</body>\n</html>\n",
      escaped(title), style_sheet, links, body, escaped(options.version), script);
}

} // namespace slat::reporting
