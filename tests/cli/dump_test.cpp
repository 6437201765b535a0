// slat dump stage2: text of at most 80 columns, a picture, and plain errors. Needs no KVM.
#include "slat.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace slat::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

std::vector<std::string> dump(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"dump", "stage2", "--memory", "size=16M"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(DumpStage2, ShowsTheLiveTableAndDrawsMemoryUnderAStorm) {
  const TemporaryDirectory directory;
  const std::string picture = directory.path() / "memory.svg";
  const Ended ended = run_slat(dump({"--after", "0.3", "--cpus", "2", "--storm", "zap", "--picture",
                                     picture, "--kvm-device", "/nonexistent"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, testing::StartsWith("stage-2 table: EPT, 4 levels"));
  EXPECT_THAT(ended.out, ContainsRegex("\n[0-9a-f]+-[0-9a-f]+ +[0-9]+[KM] +4K rwx WB +[0-9]+"));
  std::istringstream lines(ended.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  const std::string svg = content(picture);
  EXPECT_THAT(svg, HasSubstr("<svg"));
  EXPECT_THAT(svg, HasSubstr("16M of guest memory"));
  EXPECT_THAT(svg, HasSubstr("storm zap"));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
}

TEST(DumpStage2, DrawsWhatIsInTheStore) {
  const TemporaryDirectory directory;
  const std::string picture = directory.path() / "memory.svg";
  const Ended ended =
      run_slat(dump({"--after", "1", "--storm", "reclaim", "--exact", "--picture", picture}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(content(picture), ContainsRegex("reclaimed</text>"));
  EXPECT_THAT(content(picture), ContainsRegex("#f0e442"));
}

TEST(DumpStage2, RefusesAStormThatItsGuestTakesNoPartIn) {
  EXPECT_THAT(run_slat(dump({"--storm", "discard"})),
              refused(64, {"--storm discard", "slat stress"}));
}

TEST(DumpStage2, ShowsHugeLeaves) {
  const Ended ended = run_slat(dump({"--after", "0.3", "--fault-around", "512"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, ContainsRegex(" 2M rwx WB"));
}

TEST(DumpStage2, EndsTheListWhereItIsToldTo) {
  const Ended ended = run_slat(dump({"--after", "0.2", "--lines", "1", "--exact"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, HasSubstr("more"));
}

TEST(DumpStage2, ShowsWhatAGuestLeavesThatEndsEarly) {
  const Ended ended =
      run_slat(dump({"--kernel", hello_image(), "--cmdline", "exit=0", "--after", "60"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("the guest ended before"));
  EXPECT_THAT(ended.out, HasSubstr("stage-2 table"));
}

TEST(DumpStage2, EndsLikeItsGuestAndShowsTheTableAllTheSame) {
  const Ended crashed =
      run_slat(dump({"--kernel", hello_image(), "--cmdline", "crash=triple", "--after", "60"}));
  EXPECT_EQ(crashed.exit_code, 70);
  EXPECT_THAT(crashed.err, HasSubstr("triple fault"));
  EXPECT_THAT(crashed.out, HasSubstr("stage-2 table"));
  Process process(slat_process(dump({"--after", "600", "--cmdline", "order=mix"})));
  ASSERT_TRUE(process.wait_for_output("memstress"));
  process.send(SIGINT);
  const Ended interrupted = process.finish();
  EXPECT_EQ(interrupted.exit_code, 130);
  EXPECT_THAT(interrupted.err, HasSubstr("interrupted before --after 600"));
  EXPECT_THAT(interrupted.out, HasSubstr("stage-2 table"));
}

TEST(DumpStage2, RefusesWhatItCannotDo) {
  EXPECT_THAT(run_slat(dump({"--after", "nan"})),
              refused(64, {"'nan' is not a number of seconds"}));
  EXPECT_THAT(run_slat(dump({"--lines", "-1"})), refused(64, {"--lines"}));
  EXPECT_THAT(run_slat(dump({"--accel", "kvm"})), refused(64, {"--accel soft"}));
  EXPECT_THAT(run_slat(dump({"--picture", "memory.png"})), refused(64, {"memory.png", "SVG"}));
  EXPECT_THAT(run_slat(dump({"--after", "-1"})), refused(64, {"--after"}));
  EXPECT_THAT(run_slat(dump({"--after", "600", "--picture", "/nonexistent/a.svg"})),
              refused(71, {"/nonexistent/a.svg: cannot write it: No such file"}));
}

} // namespace
} // namespace slat::test
