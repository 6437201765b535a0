// slat report: a page of a recording, and plain errors. Needs no KVM.
#include "slat.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace slat::test {
namespace {

using testing::HasSubstr;

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Report, MakesAPageOfARecording) {
  const TemporaryDirectory directory;
  const std::string file = directory.path() / "run.json";
  const std::string page = directory.path() / "page.html";
  ASSERT_EQ(
      run_slat({"stress", "--accel", "soft", "--memory", "16M", "--passes", "2", "--record", file})
          .exit_code,
      0);
  const Ended ended = run_slat({"report", "--title", "a <b>", "--output", page, file});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, "");
  const std::string html = content(page);
  EXPECT_THAT(html, testing::StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(html, HasSubstr("<title>a &lt;b&gt;</title>"));
  EXPECT_THAT(html, HasSubstr("id=\"run-1-memory-map\""));
  EXPECT_THAT(html, testing::EndsWith("</html>\n"));
  EXPECT_EQ(run_slat({"report", "--title", "a <b>", file}).out, html) << "or to standard output";
}

TEST(Report, RefusesWhatItCannotRead) {
  const TemporaryDirectory directory;
  EXPECT_THAT(run_slat({"report"}), refused(64, {"FILE", "required"}));
  EXPECT_THAT(run_slat({"report", "/nonexistent.json"}), refused(66, {"/nonexistent.json"}));
  EXPECT_THAT(run_slat({"report", directory.path()}), refused(66, {"a directory"}));
  const std::string empty = directory.write("empty.json", "");
  EXPECT_THAT(run_slat({"report", empty}), refused(65, {empty, "it is empty"}));
  const std::string text = directory.write("text.json", "hello\n");
  EXPECT_THAT(run_slat({"report", text}), refused(65, {text, "it is not JSON", "--record"}));
  const std::string other = directory.write("other.json", R"({"schema": "other/1"})");
  EXPECT_THAT(run_slat({"report", other}), refused(65, {other, "'other/1'", "slat-record/1"}));
  const std::string huge = directory.write("huge.json", "");
  std::filesystem::resize_file(huge, std::uintmax_t(65) << 20);
  EXPECT_THAT(run_slat({"report", huge}), refused(65, {huge, "more than"}));
  const std::string good =
      directory.write("bench.json", R"({"schema": "slat-bench/1", "bench": "x", "version": "1"})");
  EXPECT_THAT(run_slat({"report", "--output", "/nonexistent/a.html", good}),
              refused(71, {"--output /nonexistent/a.html"}));
}

} // namespace
} // namespace slat::test
