// The page: what is on it, and that nothing from outside becomes markup.
#include "sample.hpp"
#include "slat/report/page.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace slat::reporting {
namespace {

using test::Json;
using ::testing::HasSubstr;
using ::testing::Not;

std::string page_of(const std::vector<Json>& documents, const std::string& title = {}) {
  std::vector<Document> read;
  for (const Json& json : documents) {
    auto document = read_document(json.dump());
    EXPECT_TRUE(document.has_value()) << document.error();
    if (document) read.push_back(*document);
  }
  return page(read, {.title = title, .version = "0.1.0"});
}

/// Every string of the document, keys too, becomes `text`, but those that the reader looks for.
void poison(Json& json, const std::string& text, const std::string& key = {}) {
  if (json.is_object() || json.is_array()) {
    for (auto& [name, value] : json.items()) poison(value, text, name);
    if (key == "options" || key == "labels" || key == "stats" || key == "host") json[text] = text;
  } else if (json.is_string() && key != "schema" && key != "better" && json != "absent") {
    json = text;
  }
}

TEST(ReportPage, HasASectionForAllThatARecordingHas) {
  const std::string html = page_of({test::recording()});
  for (const char* id : {"summary", "run-1", "run-1-memory", "run-1-memory-map",
                         "run-1-memory-stack", "run-1-series", "run-1-faults", "run-1-resident",
                         "run-1-latency", "run-1-fault-latency", "run-1-latency-map"})
    EXPECT_THAT(html, HasSubstr(fmt::format("id=\"{}\"", id)));
  EXPECT_THAT(html, Not(HasSubstr("id=\"run-1-invalidate-latency\""))) << "nothing was timed";
  EXPECT_THAT(html, HasSubstr("✓ PASS"));
  EXPECT_THAT(html, HasSubstr("no RAM from 16 KiB to 4 GiB"));
  EXPECT_THAT(html, HasSubstr("p99.9</b> 10 µs"));
}

TEST(ReportPage, NeedsNothingFromElsewhere) {
  const std::string html = page_of({test::recording(), test::bench()});
  for (const char* word : {"http://", "https://", "<link", " src=", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(word)));
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
}

TEST(ReportPage, PutsDesignsIntoColumns) {
  const std::string html = page_of({test::bench()});
  EXPECT_THAT(html, HasSubstr("id=\"bench-1-1-matrix\""));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\">lookup · threads 1</th>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">mmap-lock</th>"));
  EXPECT_THAT(html, HasSubstr("10M <small>operations/s</small>"));
  EXPECT_THAT(html, HasSubstr("✗ goal 0.95"));
  EXPECT_THAT(html, Not(HasSubstr("id=\"bench-1-ratios\""))) << "one result has nothing beside it";
}

TEST(ReportPage, ComparesResultsOfOneBenchmark) {
  const std::string html = page_of({test::bench(), test::bench(), test::recording()});
  EXPECT_THAT(html, HasSubstr("id=\"bench-1-2-matrix\""));
  EXPECT_THAT(html, HasSubstr("id=\"bench-1-ratios\""));
  EXPECT_THAT(html, Not(HasSubstr("id=\"bench-2\"")));
}

TEST(ReportPage, PlotsTheRatiosOfABenchmarkWithoutDesigns) {
  Json json = test::bench();
  for (Json& ratio : json["ratios"]) ratio["labels"].erase("design");
  EXPECT_THAT(page_of({json}), HasSubstr("id=\"bench-1-ratios\""));
}

TEST(ReportPage, SummarisesSeveralRunsSideBySide) {
  const std::string html = page_of({test::recording(), test::recording()}, "Two of them");
  EXPECT_THAT(html, HasSubstr("<title>Two of them</title>"));
  EXPECT_THAT(html, HasSubstr("<a href=\"#run-2\">run 2</a></th>"));
  EXPECT_THAT(html, HasSubstr("id=\"run-2-memory-map\""));
}

TEST(ReportPage, NothingFromOutsideIsMarkup) {
  const std::string evil = "</script></title></style><img onerror='x' alt=\"y\">&";
  Json recording = test::recording();
  Json bench = test::bench();
  poison(recording, evil);
  recording["memory"]["steps"][0]["vmas"][0][2] = "<b>";
  recording["memory"]["steps"][1]["vmas"][0][2] = "<b>";
  recording["memory"]["steps"][1]["vmas"][1][2] = "<b>";
  poison(bench, evil);
  const std::string html = page_of({recording, bench}, evil);
  EXPECT_THAT(html, Not(HasSubstr("<img")));
  EXPECT_THAT(html, Not(HasSubstr("alt=\"y\"")));
  EXPECT_THAT(html, HasSubstr("&lt;img onerror=&#39;x&#39; alt=&quot;y&quot;&gt;&amp;"));
}

TEST(ReportPage, IsMadeOfARecordingInWhichNothingHappened) {
  Json json = test::recording();
  json["series"] = {{"time_s", Json::array()}};
  json["latency_series"] = {
      {"time_s", Json::array()}, {"upper_ns", Json::array()}, {"counts", Json::array()}};
  json["latency"]["fault_latency_ns"]["buckets"] = Json::array();
  json["memory"]["steps"] = Json::array();
  const std::string html = page_of({json});
  EXPECT_THAT(html, Not(HasSubstr("<figure")));
  EXPECT_THAT(html, HasSubstr("PASS"));
}

} // namespace
} // namespace slat::reporting
