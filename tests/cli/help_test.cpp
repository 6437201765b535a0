#include "slat.hpp"

#include <gtest/gtest.h>
#include <sstream>

namespace slat::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Help : public testing::TestWithParam<std::vector<std::string>> {};

TEST_P(Help, GoesToStandardOutputFitsEightyColumnsAndExitsZero) {
  const Ended ended = run_slat(GetParam());
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_EQ(ended.err, "");
  EXPECT_THAT(ended.out, HasSubstr("--help"));
  EXPECT_THAT(ended.out, HasSubstr("Exit codes:")) << "exit codes are documented";
  std::istringstream lines(ended.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

std::string name_of(const testing::TestParamInfo<std::vector<std::string>>& info) {
  std::string name;
  for (const std::string& word : info.param)
    for (const char c : word)
      if (std::isalpha(static_cast<unsigned char>(c)) != 0) name += c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Commands, Help,
                         testing::Values(std::vector<std::string>{"--help"},
                                         std::vector<std::string>{"boot", "--help"},
                                         std::vector<std::string>{"stress", "--help"}),
                         name_of);

TEST(Help, ListsEveryCommandWithItsExitCodes) {
  const Ended ended = run_slat({"--help"});
  for (const char* word :
       {"boot", "stress", "64", "65", "66", "69", "70", "71", "72", "75", "77", "130/143"})
    EXPECT_THAT(ended.out, HasSubstr(word));
}

TEST(Version, IsOneLine) {
  const Ended ended = run_slat({"--version"});
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, StartsWith("slat "));
  EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 1);
}

} // namespace
} // namespace slat::test
