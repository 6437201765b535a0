// What is taken for a document of ours, and what is refused with which words.
#include "sample.hpp"
#include "slat/report/document.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace slat::reporting {
namespace {

using test::Json;
using ::testing::HasSubstr;

std::string complaint(const std::string& text) {
  const auto document = read_document(text);
  return document ? std::string() : document.error();
}

std::string complaint(const Json& json) {
  return complaint(json.dump());
}

TEST(ReportDocument, ReadsARecording) {
  const auto document = read_document(test::recording().dump());
  ASSERT_TRUE(document.has_value()) << document.error();
  const auto& recording = std::get<Recording>(*document);
  EXPECT_EQ(recording.verdict, "PASS");
  EXPECT_EQ(recording.label(), "slat stress · soft · spf · 2 vCPUs · 32 KiB · storm zap");
  EXPECT_EQ(recording.stat("reclaim_store.pages"), "7");
  EXPECT_EQ(recording.faults.count(), 100);
  EXPECT_EQ(recording.faults.percentile(0.5), 99);
  EXPECT_EQ(recording.faults.percentile(0.9), 199);
  EXPECT_EQ(recording.faults.percentile(0.99), 999);
  EXPECT_EQ(recording.faults.percentile(1), 9999);
  EXPECT_EQ(recording.invalidations.percentile(0.5), 0);
  const Series& series = recording.series;
  EXPECT_THAT(series.rate(*series.find("stage2_fault_count")), testing::ElementsAre(200, 200, 0));
  EXPECT_EQ(recording.memory.steps[2].vmas, recording.memory.steps[1].vmas) << "as before";
  EXPECT_EQ(recording.memory.steps[2].huge.front(), 2);
}

TEST(ReportDocument, KnowsWhereAHoleInTheRamIs) {
  const auto document = read_document(test::recording().dump());
  const MemorySteps& memory = std::get<Recording>(*document).memory;
  EXPECT_EQ(memory.address_of(16383), 16383);
  EXPECT_EQ(memory.address_of(16384), 4294967296.0);
  EXPECT_EQ(memory.offset_of(4294967296.0 + 4096), 16384 + 4096);
  EXPECT_EQ(memory.offset_of(1 << 20), 16384) << "in the hole";
}

TEST(ReportDocument, ReadsTheResultOfABenchmark) {
  const auto document = read_document(test::bench().dump());
  ASSERT_TRUE(document.has_value()) << document.error();
  const auto& result = std::get<BenchResult>(*document);
  ASSERT_EQ(result.ratios.size(), 2u);
  EXPECT_EQ(cell_of(result.ratios[0].labels, "design", "x"), "lookup · threads 1");
  EXPECT_GT(result.ratios[0].advantage(), 0);
  EXPECT_FALSE(result.ratios[0].misses_goal());
  EXPECT_EQ(result.ratios[1].advantage(), -1);
  EXPECT_TRUE(result.ratios[1].misses_goal());
}

TEST(ReportDocument, WhereLessIsBetterAdvantagesAndGoalsTurnRound) {
  Json json = test::bench();
  json["ratios"][1]["better"] = "lower";
  const auto document = read_document(json.dump());
  const auto& result = std::get<BenchResult>(*document);
  EXPECT_EQ(result.ratios[1].advantage(), 1);
  EXPECT_FALSE(result.ratios[1].misses_goal());
}

TEST(ReportDocument, WhereOneIsBestNothingIsBetterThanIt) {
  Json json = test::bench();
  json["ratios"][0]["better"] = "one";
  json["ratios"][1]["better"] = "one";
  const auto document = read_document(json.dump());
  const auto& result = std::get<BenchResult>(*document);
  EXPECT_LT(result.ratios[0].advantage(), 0);
  EXPECT_EQ(result.ratios[1].advantage(), -1);
  EXPECT_FALSE(result.ratios[1].misses_goal());
}

TEST(ReportDocument, RefusesWhatIsNoDocumentOfOurs) {
  EXPECT_EQ(complaint(std::string()), "it is empty");
  EXPECT_EQ(complaint(std::string(" \n")), "it is empty");
  EXPECT_EQ(complaint(std::string("hello")), "it is not JSON");
  EXPECT_EQ(complaint(std::string("\x7f\x45LF\0\0", 6)), "it is not JSON");
  EXPECT_EQ(complaint(std::string("[1]")), "it is JSON, but not an object");
  EXPECT_EQ(complaint(std::string("{}")), "it is JSON, but has no member schema");
  EXPECT_EQ(complaint(std::string(R"({"schema": 3})")), "member schema is not a string");
  EXPECT_THAT(complaint(std::string(R"({"schema": "other/2"})")),
              HasSubstr("its schema is 'other/2'"));
  EXPECT_THAT(complaint(std::string(100'000, '[')), HasSubstr("nested too deeply"));
  std::string many = "{\"a\":1";
  for (int i = 0; i < 2000; ++i) many += fmt::format(",\"{}\":1", i);
  EXPECT_THAT(complaint(many + "}"), HasSubstr("too many members"));
  EXPECT_THAT(complaint(test::recording().dump().substr(0, 500)), HasSubstr("not JSON"));
}

struct Change {
  const char* where; // a JSON pointer
  const char* what;  // JSON; "": gone
  const char* complaint;
};

void PrintTo(const Change& change, std::ostream* stream) {
  *stream << change.where << " = " << change.what;
}

class ReportDocumentRefuses : public testing::TestWithParam<Change> {};

TEST_P(ReportDocumentRefuses, WhatIsNotConsistent) {
  Json json = test::recording();
  const Json::json_pointer where(GetParam().where);
  if (*GetParam().what == '\0')
    json.at(where.parent_pointer()).erase(where.back());
  else
    json.at(where) = Json::parse(GetParam().what);
  EXPECT_THAT(complaint(json), HasSubstr(GetParam().complaint));
}

INSTANTIATE_TEST_SUITE_P(
    Recording, ReportDocumentRefuses,
    testing::Values(
        Change{"/command", "", "member command is missing"},
        Change{"/stats/verdict", "1", "member stats.verdict is not a string"},
        Change{"/stats/exit_code", "-1", "member stats.exit_code is out of range"},
        Change{"/options", "[]", "member options is not an object"},
        Change{"/series/time_s", "[0, 1, 1, 2]", "member series.time_s does not ascend"},
        Change{"/series/time_s", "[0, 1, 2]", "is not as long as time_s"},
        Change{"/series/time_s/0", "\"x\"", "has an element that is no number"},
        Change{"/latency/fault_latency_ns/buckets/1/0", "1", "buckets does not ascend"},
        Change{"/latency/fault_latency_ns/buckets/1", "[3]", "is not [upper bound, count"},
        Change{"/latency_series/counts/1", "[1]", "not as long as upper_ns"},
        Change{"/memory/bytes", "65536", "does not add up"},
        Change{"/memory/ranges/1/0", "4096", "member memory.ranges has an element"},
        Change{"/memory/slices", "5", "steps[0].pages.absent has not a number for each slice"},
        Change{"/memory/slices", "1e9", "member memory.slices is out of range"},
        Change{"/memory/states", "[\"dirty\"]", "does not begin with \"absent\""},
        Change{"/memory/steps/1/time_s", "0", "steps[1].time_s does not ascend"},
        Change{"/memory/steps/1/vmas/0", "[5, 4, \"rw-\"]", "steps[1].vmas has an element"},
        Change{"/memory/steps/1/pages", "", "steps[1].pages is missing"},
        Change{"/memory/steps/1/pages/dirty/0", "-2", "no number from 0 up"}));

TEST(ReportDocument, LeavesOutRatiosOfNothingToNothing) {
  Json json = test::bench();
  json["ratios"][0]["median"] = nullptr;
  json["ratios"][1].update({{"median", 0}, {"min", 0}});
  const auto document = read_document(json.dump());
  ASSERT_TRUE(document.has_value()) << document.error();
  const auto& ratios = std::get<BenchResult>(*document).ratios;
  ASSERT_EQ(ratios.size(), 1u);
  EXPECT_LT(ratios[0].advantage(), -9);
  EXPECT_GT(range_of(ratios).min, 0) << "a scale of logarithms";
}

TEST(ReportDocument, RefusesRatiosThatMakeNoSense) {
  Json json = test::bench();
  json["ratios"][0]["min"] = 2;
  EXPECT_THAT(complaint(json), HasSubstr("ratios[0].median is not between min and max"));
  json = test::bench();
  json["ratios"][1]["median"] = -1;
  EXPECT_THAT(complaint(json), HasSubstr("ratios[1].median is out of range"));
  json = test::bench();
  json["ratios"][1]["better"] = "faster";
  EXPECT_THAT(complaint(json), HasSubstr("is not \"higher\""));
}

} // namespace
} // namespace slat::reporting
