// slat bench scale: tables and JSON of the model, the same for the same costs and seed; files of costs.
#include "slat.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace slat::test {
namespace {

using testing::HasSubstr;

class BenchScale : public testing::Test {
 protected:
  std::string file(const std::string& text) {
    const std::string path = (directory_.path() / "costs.json").string();
    std::ofstream(path) << text;
    return path;
  }

  TemporaryDirectory directory_;
  std::string costs_ = R"({"schema": "slat-costs/1", "costs": {"transfer_ns": 80, "rmw_ns": 6}})";

  Ended bench(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"bench",   "scale",      "--rounds",    "1",
                                          "--costs", file(costs_), "--max-vcpus", "8"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_slat(arguments);
  }
};

TEST_F(BenchScale, PrintsTheTablesInEightyColumnsAndTheSameTwice) {
  const Ended ended = bench({});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* word : {"transfer_ns", "80.0  file", "refcount", "userfaultfds", "one-uffd",
                           "vma-own", "fitted", "The model:"})
    EXPECT_THAT(ended.out, HasSubstr(word));
  std::istringstream lines(ended.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_EQ(bench({}).out, ended.out);
  EXPECT_NE(bench({"--seed", "2"}).out, ended.out);
}

TEST_F(BenchScale, GivesOneJsonObject) {
  const Ended ended = bench({"--json"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json.at("schema"), "slat-bench/1");
  EXPECT_EQ(json.at("bench"), "scale");
  EXPECT_EQ(json.at("rounds"), 1);
  // 4 numbers of vCPUs: 8 cells, exits, and 1 to 4 numbers of userfaultfds.
  EXPECT_EQ(json.at("figures").size(), 4u * 9 + 1 + 2 + 3 + 4);
  for (const auto& figure : json.at("figures")) {
    EXPECT_EQ(figure.at("unit"), "faults/s");
    EXPECT_GT(figure.at("median"), 0) << figure;
    EXPECT_TRUE(figure.at("labels").contains("vcpus")) << figure;
  }
  EXPECT_EQ(json.at("ratios").size(), 24u); // 12 published points, here and fitted
  EXPECT_EQ(json.at("costs").at("costs").at("transfer_ns"), 80);
}

TEST_F(BenchScale, MeasuresAndSavesCostsThatItTakesBack) {
  const std::string path = (directory_.path() / "measured.json").string();
  const Ended measured =
      run_slat({"bench", "scale", "--rounds", "1", "--max-vcpus", "2", "--save-costs", path});
  EXPECT_EQ(measured.exit_code, 0) << measured.err;
  EXPECT_THAT(measured.out, HasSubstr("Checked here"));
  EXPECT_THAT(measured.out, HasSubstr("measured"));
  const Ended again =
      run_slat({"bench", "scale", "--rounds", "1", "--max-vcpus", "2", "--costs", path});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, Not(HasSubstr("Checked here"))) << "there is nothing to check by";
}

TEST_F(BenchScale, RefusesWhatMakesNoSense) {
  costs_ = "{}";
  const Ended ended = bench({});
  EXPECT_EQ(ended.exit_code, 64);
  EXPECT_THAT(ended.err, HasSubstr("schema"));
  EXPECT_EQ(run_slat({"bench", "scale", "--costs", "/nowhere/costs"}).exit_code, 66);
  EXPECT_EQ(run_slat({"bench", "scale", "--max-vcpus", "3"}).exit_code, 64);
  EXPECT_EQ(run_slat({"bench", "scale", "--max-vcpus", "512"}).exit_code, 64);
}

} // namespace
} // namespace slat::test
