// Files of costs: what is written is read, and what is not one is refused by name.
#include "slat/scale/costs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slat::tool::scale {
namespace {

using testing::HasSubstr;

std::string refusal(std::string_view text) {
  const auto costs = parse_costs(text);
  return costs ? "" : costs.error().message;
}

TEST(Costs, AreReadAsTheyWereWritten) {
  Costs costs;
  for (std::size_t step = 0; step < step_count; ++step) costs.set(Step(step), double(step) + .5);
  const auto read = parse_costs(to_json(costs).dump());
  ASSERT_TRUE(read) << read.error().message;
  for (std::size_t step = 0; step < step_count; ++step) {
    EXPECT_EQ(read->of[step].ns, double(step) + .5) << name_of(Step(step));
    EXPECT_EQ(read->of[step].source, Source::file);
  }
}

TEST(Costs, ThatAFileLacksStayAssumed) {
  const auto read = parse_costs(R"({"schema": "slat-costs/1", "costs": {"rmw_ns": 7}})");
  ASSERT_TRUE(read);
  EXPECT_EQ((*read)[rmw], 7);
  EXPECT_EQ(read->of[transfer].source, Source::assumed);
}

TEST(Costs, OfAnotherKindOfFileAreRefused) {
  EXPECT_THAT(refusal(""), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("schema"));
  EXPECT_THAT(refusal(R"({"schema": "slat-bench/1"})"), HasSubstr("schema"));
  EXPECT_THAT(refusal(R"({"schema": "slat-costs/1"})"), HasSubstr("costs"));
  EXPECT_THAT(refusal(R"({"schema": "slat-costs/1", "costs": {"speed": 1}})"),
              HasSubstr("'speed'"));
  for (const char* value : {"-1", "1e10", "\"5\"", "null", "[5]"})
    EXPECT_THAT(
        refusal(std::string(R"({"schema": "slat-costs/1", "costs": {"rmw_ns": )") + value + "}}"),
        HasSubstr("'rmw_ns'"))
        << value;
}

TEST(Costs, TheMiddleOfSomeIsTakenStepByStep) {
  std::vector<Costs> rounds(3);
  for (unsigned i = 0; i < 3; ++i) {
    rounds[i].set(rmw, i);
    rounds[i].set(transfer, 100 - i);
  }
  const Costs middle = median_of(rounds);
  EXPECT_EQ(middle[rmw], 1);
  EXPECT_EQ(middle[transfer], 99);
}

} // namespace
} // namespace slat::tool::scale
