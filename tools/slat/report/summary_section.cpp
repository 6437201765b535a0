#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <array>
#include <charconv>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

struct Row {
  const char* name;
  std::string (*value)(const Recording&);
  bool is_tile = false; // tiles() has it too
};

std::string count(const Recording& recording, std::string_view name) {
  const std::string text = recording.stat(name);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole ? grouped(value) : text;
}

template <const char* stat> std::string count_of(const Recording& recording) {
  return count(recording, stat);
}

std::string latency_of(const Latency& latency) {
  if (latency.buckets.empty()) return {};
  return fmt::format("{} / {} / {}", short_time(latency.percentile(0.5)),
                     short_time(latency.percentile(0.99)), short_time(latency.percentile(0.999)));
}

constexpr char faults[] = "stage2_fault_count";
constexpr char installed[] = "installed_pages";
constexpr char retries[] = "fault_retry_count";
constexpr char waits[] = "fault_wait_count";
constexpr char ranges[] = "invalidate_count";
constexpr char invalidated[] = "invalidated_pages";
constexpr char reclaimed[] = "reclaimed_pages";
constexpr char restored[] = "restored_pages";
constexpr char visits[] = "page_visit_count";
constexpr char verified[] = "verified_page_count";
constexpr char mismatches[] = "mismatch_count";

std::string seconds_of(const Recording& recording) {
  return fmt::format("{:.1f} s", recording.seconds);
}

const std::array rows{
    Row{"accelerator", [](const Recording& r) { return r.machine_fact("accelerator"); }},
    Row{"VMA lock design", [](const Recording& r) { return r.machine_fact("vma_lock"); }},
    Row{"vCPUs, guest RAM",
        [](const Recording& r) {
          return r.machine_fact("vcpus") + ", " + short_bytes(r.memory.bytes);
        }},
    Row{"storm", [](const Recording& r) { return r.option("storm"); }},
    Row{"time", seconds_of, true},
    Row{"faults served", count_of<faults>, true},
    Row{"pages installed", count_of<installed>},
    Row{"retries", count_of<retries>},
    Row{"waits", count_of<waits>},
    Row{"fault p50 / p99 / p99.9", [](const Recording& r) { return latency_of(r.faults); }},
    Row{"invalidations", count_of<ranges>, true},
    Row{"pages invalidated", count_of<invalidated>},
    Row{"invalidation p50 / p99 / p99.9",
        [](const Recording& r) { return latency_of(r.invalidations); }},
    Row{"pages reclaimed", count_of<reclaimed>},
    Row{"pages restored", count_of<restored>},
    Row{"page visits of the guest", count_of<visits>},
    Row{"pages verified", count_of<verified>, true},
    Row{"mismatches", count_of<mismatches>, true},
};

std::string badge(const Recording& recording) {
  const std::string_view verdict = recording.verdict;
  const bool failed = verdict.starts_with("FAIL") || verdict.starts_with("CRASHED");
  const bool good = recording.exit_code == 0 && !failed;
  return fmt::format("<span class=\"badge {}\">{} {}</span>",
                     failed ? "bad"
                     : good ? "good"
                            : "open",
                     failed ? "✗"
                     : good ? "✓"
                            : "•",
                     escaped(verdict));
}

std::string pair_table(const Pairs& pairs) {
  std::string out = "<table class=\"facts\">";
  for (const auto& [name, value] : pairs)
    out += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escaped(name), escaped(value));
  return out + "</table>";
}

std::string summary_of_one(const Recording& recording) {
  std::string out = "<section id=\"summary\" data-check><h2>Summary</h2>\n" + tiles(recording) +
                    "<dl class=\"summary\">\n";
  for (const Row& row : rows)
    if (const std::string value = row.value(recording); !row.is_tile && !value.empty())
      out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", row.name, escaped(value));
  return out + "</dl></section>\n";
}

} // namespace

std::string summary_section(const std::vector<Recording>& recordings) {
  if (recordings.empty()) return {};
  if (recordings.size() == 1) return summary_of_one(recordings.front());
  std::string out = "<section id=\"summary\" data-check><h2>Summary</h2><div class=\"scroll\">"
                    "<table class=\"summary\">\n<thead><tr><th></th>";
  for (std::size_t i = 0; i < recordings.size(); ++i)
    out += fmt::format("<th scope=\"col\"><a href=\"#run-{0}\">run {0}</a></th>", i + 1);
  out += "</tr></thead>\n<tbody><tr><th scope=\"row\">verdict</th>";
  for (const Recording& recording : recordings) out += "<td>" + badge(recording) + "</td>";
  out += "</tr>\n";
  for (const Row& row : rows) {
    std::string cells;
    bool any = false;
    for (const Recording& recording : recordings) {
      const std::string value = row.value(recording);
      any = any || !value.empty();
      cells += "<td>" + (value.empty() ? "–" : escaped(value)) + "</td>";
    }
    if (any) out += fmt::format("<tr><th scope=\"row\">{}</th>{}</tr>\n", row.name, cells);
  }
  return out + "</tbody></table></div></section>\n";
}

std::string tiles(const Recording& recording) {
  std::string out = "<div class=\"tiles\">";
  const auto tile = [&](std::string_view name, const std::string& value) {
    if (!value.empty())
      out += fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>", value, name);
  };
  tile("verdict", badge(recording));
  tile("run time", seconds_of(recording));
  tile("faults served", escaped(count(recording, faults)));
  if (!recording.faults.buckets.empty()) {
    tile("fault latency p50", short_time(recording.faults.percentile(0.5)));
    tile("fault latency p99", short_time(recording.faults.percentile(0.99)));
  }
  tile("invalidations", escaped(count(recording, ranges)));
  tile("pages verified", escaped(count(recording, verified)));
  tile("mismatches", escaped(count(recording, mismatches)));
  return out + "</div>\n";
}

std::string details_section(const Recording& recording) {
  Pairs run{{"began", recording.began}, {"slat", recording.version}};
  for (const Pairs* const more : {&recording.machine, &recording.options})
    run.insert(run.end(), more->begin(), more->end());
  for (const auto& [name, value] : recording.host) run.emplace_back("host " + name, value);
  return fmt::format("<details><summary>What was run</summary>{}</details>\n"
                     "<details><summary>All statistics</summary>{}</details>\n",
                     pair_table(run), pair_table(recording.stats));
}

} // namespace slat::reporting
