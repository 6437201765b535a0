// slat bench mmu: every cell has a figure for every design, as a table and as JSON.
#include "slat.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slat::test {
namespace {

using testing::HasSubstr;

const std::vector<std::string> quick = {"bench", "mmu", "--rounds", "1", "--cell-ms", "2"};

std::vector<std::string> bench(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = quick;
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(BenchMmu, PrintsARatioForEachDesignInEachCell) {
  const Ended ended = run_slat(bench({"--threads", "1,2", "--writer-rate", "0,500"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* word :
       {"mmap-lock", "spf", "vma-rwsem", "vma-refcount", "lookup", "lock", "fault", "notify",
        "srcu", "map-unmap", "one-vma", "own-vma", "map-touch"})
    EXPECT_THAT(ended.out, HasSubstr(word));
}

TEST(BenchMmu, GivesOneJsonObject) {
  const Ended ended = run_slat({"bench", "mmu", "--rounds", "3", "--cell-ms", "40", "--json",
                                "--threads", "1", "--writer-rate", "0", "--workload",
                                "lock,map-unmap"}); // long enough for one operation each
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const auto json = nlohmann::json::parse(ended.out);
  ASSERT_EQ(json.at("cells").size(), 2u);
  for (const auto& cell : json.at("cells")) {
    EXPECT_EQ(cell.at("designs").at("mmap-lock").at("ratio"), 1.0);
    for (const char* design : {"mmap-lock", "spf", "vma-rwsem", "vma-refcount"})
      EXPECT_GT(cell.at("designs").at(design).at("operations_per_second"), 0) << design;
  }
}

TEST(BenchMmu, CtrlCGivesTheTableOfTheWholeRounds) {
  Process process(slat_process({"bench", "mmu", "--rounds", "1000", "--cell-ms", "10", "--threads",
                                "1", "--writer-rate", "0", "--workload", "srcu,lookup"}));
  // The first progress line comes after 5 s where standard error is no terminal.
  ASSERT_TRUE(process.wait_for_output("of 1000: "));
  process.send(SIGINT);
  const Ended ended = process.finish();
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.err, testing::ContainsRegex("interrupted after [0-9]+ whole"));
  EXPECT_THAT(ended.out, testing::ContainsRegex("lookup +1 +0 +[0-9.]+[kM]"));
}

TEST(BenchMmu, RefusesWhatMakesNoSense) {
  EXPECT_EQ(run_slat(bench({"--workload", "teleport"})).exit_code, 64);
  EXPECT_EQ(run_slat(bench({"--threads", "0"})).exit_code, 64);
}

} // namespace
} // namespace slat::test
