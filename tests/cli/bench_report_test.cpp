// What benchmarks find, put into words: medians, ratios, goals, and the comparison with an earlier run.
#include "slat/bench_compare.hpp"
#include "slat/bench_report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slat::tool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

BenchReport report_of(double numerator, double denominator, Better better,
                      std::optional<double> goal = {}) {
  BenchReport report{.bench = "test"};
  report.figures.push_back({"a", "us", {numerator, 2 * numerator, numerator}});
  report.figures.push_back({"b", "us", {denominator, 2 * denominator, denominator}});
  report.add_ratio("a:b", "a", "b", better, goal);
  return report;
}

TEST(BenchReport, MedianIsTheMiddle) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

TEST(BenchReport, RatiosAreOfTheSameRound) {
  // A machine that is twice as slow in the second round leaves them as they are.
  EXPECT_THAT(report_of(30, 10, Better::lower).ratios.at(0).samples, ElementsAre(3, 3, 3));
  EXPECT_THAT(quotients({1, 2, 3}, {2, 4}), ElementsAre(0.5, 0.5));
}

TEST(BenchReport, ARatioWithoutBothFiguresIsLeftOut) {
  BenchReport report = report_of(1, 1, Better::lower);
  report.add_ratio("a:c", "a", "c", Better::lower);
  EXPECT_EQ(report.ratios.size(), 1u);
}

TEST(BenchReport, GoalsHaveADirection) {
  EXPECT_TRUE(report_of(1, 1, Better::higher).ratios.at(0).meets_goal()) << "none";
  EXPECT_TRUE(report_of(2, 1, Better::higher, 1.5).ratios.at(0).meets_goal());
  EXPECT_FALSE(report_of(1, 1, Better::higher, 1.5).ratios.at(0).meets_goal());
  EXPECT_TRUE(report_of(1, 1, Better::lower, 1.1).ratios.at(0).meets_goal());
  EXPECT_FALSE(report_of(2, 1, Better::lower, 1.1).ratios.at(0).meets_goal());
  EXPECT_THAT(to_text(report_of(2, 1, Better::lower, 1.1)), HasSubstr("<= 1.1: not met"));
}

TEST(BenchReport, JsonHasMedianAndSpread) {
  const Labels json = to_json(report_of(30, 10, Better::lower, 1.1));
  EXPECT_EQ(json.at("rounds"), 3);
  EXPECT_EQ(json.at("figures").at(0).at("median"), 30);
  EXPECT_EQ(json.at("figures").at(0).at("max"), 60);
  EXPECT_EQ(json.at("ratios").at(0).at("goal"), 1.1);
}

Baseline baseline_of(const std::string& text) {
  auto parsed = parse_baseline(text, "test");
  const auto* const why = std::get_if<std::string>(&parsed);
  EXPECT_EQ(why, nullptr) << *why;
  return std::get<Baseline>(parsed);
}

TEST(BenchCompare, ReadsWhatIsPrinted) {
  const Labels one = to_json(report_of(30, 10, Better::lower));
  Labels other = one;
  other["bench"] = "other";
  EXPECT_EQ(baseline_of(one.dump()), (Baseline{{"a:b", 3}}));
  EXPECT_EQ(baseline_of(Labels::array({other, one}).dump()), (Baseline{{"a:b", 3}}));
  EXPECT_TRUE(std::holds_alternative<std::string>(parse_baseline(other.dump(), "test")));
}

TEST(BenchCompare, RefusesWhatWouldTakeItDown) {
  const std::string levels(1'000'000, '[');
  EXPECT_TRUE(std::holds_alternative<std::string>(
      parse_baseline(levels + std::string(levels.size(), ']'), "test")));
  std::string members = R"({"schema":"slat-bench/1","bench":"test","ratios":[])";
  for (int i = 0; i < 2000; ++i) members += ",\"" + std::to_string(i) + "\":0";
  EXPECT_TRUE(std::holds_alternative<std::string>(parse_baseline(members + "}", "test")));
}

TEST(BenchCompare, WorseMeansLowerOrHigher) {
  const Baseline before = {{"a:b", 2}, {"gone", 1}};
  const auto regressed = [&](double now, Better better) {
    const auto changes = compare(report_of(now, 1, better), before, 15);
    EXPECT_EQ(changes.size(), 1u) << "only what both have";
    return changes.at(0).regressed;
  };
  EXPECT_FALSE(regressed(1.8, Better::higher));
  EXPECT_TRUE(regressed(1.6, Better::higher));
  EXPECT_FALSE(regressed(9, Better::higher));
  EXPECT_FALSE(regressed(2.2, Better::lower));
  EXPECT_TRUE(regressed(2.4, Better::lower));
  EXPECT_FALSE(regressed(0.1, Better::lower));
}

} // namespace
} // namespace slat::tool
