// slat stress --record and slat boot --record: what is in the file. Needs no KVM; where there is one it takes that too.
#include "slat.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace slat::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

json document(const std::string& path) {
  const json parsed = json::parse(content(path), nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << path;
  return parsed;
}

std::vector<std::string> stress(const std::string& record, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"stress", "--memory", "16M", "--record", record};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void expect_whole(const json& recording) {
  EXPECT_EQ(recording.at("schema"), "slat-record/1");
  const json& series = recording.at("series");
  const std::size_t points = series.at("time_s").size();
  EXPECT_GE(points, 2u); // the start and the end
  for (const char* name :
       {"stage2_fault_count", "installed_pages", "fault_retry_count", "invalidate_count",
        "invalidated_pages", "reclaimed_pages", "restored_pages", "resident_bytes"})
    ASSERT_EQ(series.at(name).size(), points) << name;
  const json& stats = recording.at("stats");
  EXPECT_EQ(series.at("stage2_fault_count").back(), stats.at("stage2_fault_count"));
  EXPECT_EQ(series.at("invalidated_pages").back(), stats.at("invalidated_pages"));

  const json& memory = recording.at("memory");
  ASSERT_GE(memory.at("steps").size(), 2u);
  const auto pages = memory.at("bytes").get<std::uint64_t>() / 4096;
  for (const json& step : memory.at("steps")) {
    std::uint64_t sum = 0;
    for (const auto& [state, slices] : step.at("pages").items()) {
      ASSERT_EQ(slices.size(), memory.at("slices").get<std::size_t>());
      if (state == "huge") continue;
      for (const json& count : slices) sum += count.get<std::uint64_t>();
    }
    EXPECT_EQ(sum, pages) << "each page is in one state";
  }
  EXPECT_TRUE(memory.at("steps").back().at("pages").contains("dirty"));
  std::uint64_t timed = 0;
  for (const json& bucket : recording.at("latency").at("fault_latency_ns").at("buckets"))
    timed += bucket.at(1).get<std::uint64_t>();
  EXPECT_EQ(timed, stats.at("fault_latency_ns").at("count"));
}

TEST(Record, KeepsWhatARunOnSoftwareVcpusDidOverTime) {
  const TemporaryDirectory directory;
  const std::string file = directory.path() / "run.json";
  const Ended ended =
      run_slat(stress(file, {"--accel", "soft", "--passes", "3", "--storm", "zap,reclaim"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const json recording = document(file);
  expect_whole(recording);
  EXPECT_EQ(recording.at("command"), "stress");
  EXPECT_EQ(recording.at("options").at("storm"), "zap,reclaim");
  EXPECT_EQ(recording.at("stats").at("verdict"), "PASS");
  EXPECT_EQ(recording.at("latency").at("fault_latency_ns").at("one_in"), 16);
  EXPECT_EQ(recording.at("series").at("page_visit_count").back(),
            recording.at("stats").at("page_visit_count"));
}

TEST(Record, KeepsWhatARunOnKvmDidOverTimeBehindItsFilters) {
  SLAT_NEEDS_GUEST();
  const TemporaryDirectory directory;
  const std::string file = directory.path() / "run.json";
  const Ended ended = run_slat(
      stress(file, {"--accel", "kvm", "--seconds", "2", "--storm", "zap,move,migrate,protect"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const json recording = document(file);
  expect_whole(recording);
  EXPECT_EQ(recording.at("machine").at("accelerator"), "kvm");
  EXPECT_FALSE(recording.at("memory").at("from_table").get<bool>());
}

TEST(Record, IsWrittenWhenCtrlCEndsTheRun) {
  const TemporaryDirectory directory;
  const std::string file = directory.path() / "run.json";
  Process process(slat_process(stress(file, {"--accel", "soft", "--seconds", "600"})));
  // Where standard error is no terminal, the first progress line comes after 5 s.
  ASSERT_TRUE(process.wait_for_output("faults/s"));
  process.send(SIGINT);
  EXPECT_EQ(process.finish().exit_code, 130);
  const json recording = document(file);
  expect_whole(recording);
  EXPECT_EQ(recording.at("stats").at("verdict"), "INTERRUPTED");
  EXPECT_GT(recording.at("series").at("time_s").size(), 5u);
}

TEST(Record, IsMadeOfABootToo) {
  const TemporaryDirectory directory;
  const std::string file = directory.path() / "run.json";
  const Ended ended = run_slat({"boot", "--accel", "soft", "--memory", "16M", "--kernel",
                                hello_image(), "--cmdline", "exit=7", "--record", file});
  EXPECT_EQ(ended.exit_code, 7) << ended.err;
  const json recording = document(file);
  EXPECT_EQ(recording.at("command"), "boot");
  EXPECT_EQ(recording.at("stats").at("verdict"), "EXITED");
  EXPECT_EQ(recording.at("stats").at("exit_code"), 7);
  EXPECT_GE(recording.at("memory").at("steps").size(), 2u);
}

TEST(Record, IsRefusedBeforeTheGuestStarts) {
  EXPECT_THAT(run_slat(stress("/nonexistent/run.json", {"--accel", "soft"})),
              refused(71, {"--record /nonexistent/run.json", "cannot write it"}));
}

TEST(Record, ThatCannotBeWrittenIsAnError) {
  const Ended ended = run_slat(stress("/dev/full", {"--accel", "soft", "--passes", "1"}));
  EXPECT_EQ(ended.exit_code, 71);
  EXPECT_THAT(ended.err, HasSubstr("--record /dev/full: cannot write it: No space left"));
  EXPECT_THAT(ended.out, HasSubstr("PASS"));
}

} // namespace
} // namespace slat::test
