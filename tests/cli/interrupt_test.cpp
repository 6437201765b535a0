// Ctrl-C and SIGTERM end a run in good order, from any state, and leave nothing behind.
#include "slat.hpp"

#include <chrono>
#include <filesystem>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <unistd.h>

namespace slat::test {
namespace {

using testing::HasSubstr;

class Interrupt : public testing::Test {
 protected:
  void SetUp() override { SLAT_NEEDS_GUEST(); }

  /// Starts it, waits for the text, sends the signal, and gives what became of it.
  Ended interrupt(const std::vector<std::string>& arguments, const std::string& text, int signal) {
    ProcessOptions options = slat_process(arguments);
    options.environment = {"TMPDIR=" + directory_.path().string()};
    Process process(options);
    EXPECT_TRUE(process.wait_for_output(text));
    const auto start = std::chrono::steady_clock::now();
    process.send(signal);
    Ended ended = process.finish();
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    EXPECT_FALSE(process.leaves_processes());
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path())) << "a temporary file is left";
    return ended;
  }

  TemporaryDirectory directory_;
};

TEST_F(Interrupt, CtrlCEndsASpinningGuest) {
  const Ended ended = interrupt(boot_hello("spin"), "spin", SIGINT);
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_EQ(ended.err, "slat: interrupted, the guest is stopped\n");
}

TEST_F(Interrupt, SigtermEndsASpinningGuest) {
  const Ended ended = interrupt(boot_hello("spin"), "spin", SIGTERM);
  EXPECT_EQ(ended.exit_code, 143);
  EXPECT_EQ(ended.err, "slat: interrupted, the guest is stopped\n");
}

TEST_F(Interrupt, StatisticsComeAllTheSame) {
  const Ended ended = interrupt(boot_hello("spin", {"--stats", "text"}), "spin", SIGINT);
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.out, testing::ContainsRegex("fault_count +[1-9]"));
}

TEST_F(Interrupt, StressGivesItsTableAllTheSame) {
  // The first progress line comes after 5 s where standard error is no terminal.
  const Ended ended = interrupt({"stress", "--seconds", "600", "--storm", "zap", "--memory", "64M"},
                                "faults/s", SIGINT);
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.out, HasSubstr("slat stress: INTERRUPTED"));
  EXPECT_THAT(ended.out, HasSubstr("faults served"));
}

TEST_F(Interrupt, ComesInTimeAlsoDuringTheStart) {
  // No waiting for a sign of life: the signal meets it anywhere from exec to the guest's first words.
  for (int delay_ms = 0; delay_ms < 100; delay_ms += 10) {
    Process process(slat_process(boot_hello("spin")));
    usleep(useconds_t(delay_ms) * 1000);
    process.send(SIGINT);
    const Ended ended = process.finish();
    EXPECT_FALSE(ended.timed_out);
    EXPECT_EQ(ended.exit_code, 130) << "after " << delay_ms << " ms";
  }
}

/// What a run could leave in the places that outlive a process.
std::set<std::string> entries_of(const std::filesystem::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    names.insert(entry.path().filename());
  return names;
}

TEST_F(Interrupt, SigkillLeavesTheHostClean) {
  const auto shared_memory = entries_of("/dev/shm");
  const Ended ended =
      interrupt({"stress", "--seconds", "600", "--storm", "zap,reclaim,protect", "--memory", "64M"},
                "faults/s", SIGKILL);
  EXPECT_EQ(ended.exit_code, 128 + SIGKILL);
  EXPECT_EQ(entries_of("/dev/shm"), shared_memory);
  Process next(slat_process({"stress", "--seconds", "1", "--memory", "64M"}));
  EXPECT_EQ(next.finish().exit_code, 0) << "the next run finds nothing in its way";
}

} // namespace
} // namespace slat::test
