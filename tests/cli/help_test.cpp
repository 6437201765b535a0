#include "slat.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <sstream>

namespace slat::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

/// The names below "Subcommands:" of a help text.
std::vector<std::string> commands_in(const std::string& help) {
  std::vector<std::string> names;
  std::istringstream lines(help);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line == "Subcommands:")
      inside = true;
    else if (line.empty())
      inside = false;
    else if (inside && line.size() > 2 && line[2] != ' ')
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return names;
}

/// Checks the help of `slat COMMAND...` and, below it, of each command that it lists. Returns how many there were.
int check_help(std::vector<std::string> command) {
  command.emplace_back("--help");
  const Ended ended = run_slat(command);
  command.pop_back();
  std::string name = "slat";
  for (const std::string& word : command) name += " " + word;
  EXPECT_EQ(ended.exit_code, 0) << name;
  EXPECT_EQ(ended.err, "") << name;
  EXPECT_THAT(ended.out, HasSubstr("--help")) << name;
  std::istringstream lines(ended.out);
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(line.size(), 80u) << name << ": " << line;
  int count = 1;
  for (const std::string& below : commands_in(ended.out)) {
    command.push_back(below);
    count += check_help(command);
    command.pop_back();
  }
  return count;
}

TEST(Help, OfEveryCommandGoesToStandardOutputFitsEightyColumnsAndExitsZero) {
  EXPECT_GE(check_help({}), 5) << "slat, boot, stress, bench, bench uffd at least";
}

TEST(Help, ComesFromSlatFullAndWithoutItSlatStillBootsAndSaysWhatIsMissing) {
  const TemporaryDirectory alone;
  const std::filesystem::path program = slat_process({}).arguments.front();
  std::filesystem::copy_file(program, alone.path() / "slat");
  ProcessOptions options;
  options.arguments = {(alone.path() / "slat").string(), "doctor"};
  EXPECT_THAT(Process(options).finish(), refused(69, {"cannot find slat-full", "boot and stress"}));
  options.arguments.back() = "boot";
  EXPECT_THAT(Process(options).finish(), refused(64, {"--kernel is required"}));
  std::filesystem::copy_file(program.parent_path() / "slat-full", alone.path() / "slat-full");
  options.arguments.back() = "--help";
  EXPECT_THAT(commands_in(Process(options).finish().out),
              testing::IsSupersetOf({"boot", "doctor"}));
}

TEST(Help, ListsTheCommandsAndEveryExitCode) {
  const Ended ended = run_slat({"--help"});
  for (const char* word : {"boot", "stress", "bench", "Exit codes:", "64", "65", "66", "69", "70",
                           "71", "72", "75", "77", "130, 143"})
    EXPECT_THAT(ended.out, HasSubstr(word));
}

TEST(Help, OfCommandsThatRunGuestsHasTheExitCodesToo) {
  for (const char* command : {"boot", "stress"})
    EXPECT_THAT(run_slat({command, "--help"}).out, HasSubstr("Exit codes:")) << command;
}

TEST(Help, SaysWhatAnOptionTakesAndWhatItIsWithoutIt) {
  const std::string help = run_slat({"stress", "--help"}).out;
  EXPECT_THAT(help, HasSubstr("--seconds N"));
  EXPECT_THAT(help, HasSubstr("default 20"));
  EXPECT_THAT(help, HasSubstr("seq, stride, random, mix"));
  EXPECT_THAT(help, HasSubstr("not with"));
}

TEST(Version, IsOneLine) {
  const Ended ended = run_slat({"--version"});
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, StartsWith("slat "));
  EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 1);
}

} // namespace
} // namespace slat::test
