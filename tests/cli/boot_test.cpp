// slat boot with hello.elf: the guest's words, exit codes and crashes come out as they should.
#include "slat.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace slat::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

class Boot : public testing::Test {
 protected:
  void SetUp() override { SLAT_NEEDS_GUEST(); }
};

TEST_F(Boot, PrintsTheGuestsBannerAndNothingElse) {
  const Ended ended = run_slat(boot_hello("some words"));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_EQ(ended.err, "");
  EXPECT_THAT(ended.out, HasSubstr("Hello from a slat guest."));
  EXPECT_THAT(ended.out, HasSubstr("some words"));
  EXPECT_THAT(ended.out, HasSubstr("vCPUs: 1\r\n"));
}

TEST_F(Boot, TellsTheGuestHowManyVcpusThereAre) {
  const Ended ended = run_slat(boot_hello("", {"--cpus", "2"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, HasSubstr("vCPUs: 2\r\n"));
}

TEST_F(Boot, PassesTheGuestsExitCodeOn) {
  EXPECT_EQ(run_slat(boot_hello("exit=7")).exit_code, 7);
  EXPECT_EQ(run_slat(boot_hello("exit=63")).exit_code, 63);
}

TEST_F(Boot, CutsLargerExitCodesToSixtyThree) {
  EXPECT_EQ(run_slat(boot_hello("exit=64")).exit_code, 63);
  EXPECT_EQ(run_slat(boot_hello("exit=200")).exit_code, 63);
}

TEST_F(Boot, ReportsATripleFaultWithRegistersAndCode) {
  const Ended ended = run_slat(boot_hello("crash=triple"));
  EXPECT_EQ(ended.exit_code, 70);
  EXPECT_THAT(ended.err, testing::StartsWith("slat: the guest crashed\n"));
  EXPECT_THAT(ended.err, HasSubstr("vCPU 0: triple fault"));
  EXPECT_THAT(ended.err, ContainsRegex("rip +[0-9a-f]*1[0-9a-f]{5}")) << "the image is at 1 MiB";
  for (const char* name : {"rax", "rsp", "r15", "rflags", "cr0", "cr3", "efer", "cs"})
    EXPECT_THAT(ended.err, HasSubstr(name));
  EXPECT_THAT(ended.err, HasSubstr("code at rip: 0f 0b"));
  EXPECT_THAT(ended.err, ContainsRegex("[0-9a-f]+  ud2\n")) << "the instruction, disassembled";
}

TEST_F(Boot, ShowsWhatAGuestWithHandlersSaysOfItsException) {
  const Ended ended = run_slat(boot_hello("trap=ud"));
  EXPECT_EQ(ended.exit_code, 5);
  EXPECT_EQ(ended.err, "");
}

TEST_F(Boot, PrintsStatisticsAsText) {
  const Ended ended = run_slat(boot_hello("", {"--stats", "text"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, ContainsRegex("fault_count +[1-9]"));
  EXPECT_THAT(ended.out, ContainsRegex("guest_memory_bytes +16777216"));
}

TEST_F(Boot, PrintsStatisticsAsOneLineOfJson) {
  const Ended ended = run_slat(boot_hello("", {"--stats", "json"}));
  EXPECT_EQ(ended.exit_code, 0);
  const std::size_t start = ended.out.find('{');
  ASSERT_NE(start, std::string::npos);
  const auto stats = nlohmann::json::parse(ended.out.substr(start), nullptr, false);
  ASSERT_FALSE(stats.is_discarded()) << ended.out;
  EXPECT_GT(stats.value("fault_count", 0), 0);
  EXPECT_EQ(stats.value("guest_memory_bytes", 0), 16 << 20);
}

TEST_F(Boot, WorksWithEveryWayToServeFaults) {
  for (const char* around : {"1", "16", "512"})
    EXPECT_EQ(run_slat(boot_hello("exit=7", {"--fault-around", around})).exit_code, 7) << around;
  EXPECT_EQ(run_slat(boot_hello("exit=7", {"--fault-threads", "4"})).exit_code, 7);
}

TEST_F(Boot, TakesABareMemorySizeToo) {
  const Ended ended =
      run_slat({"boot", "--kernel", hello_image(), "--cmdline", "exit=7", "--memory", "32M"});
  EXPECT_EQ(ended.exit_code, 7);
}

TEST(BootSoft, SaysThatItsOutputIsLost) {
  ProcessOptions full = slat_process(boot_hello("exit=0", {"--accel", "soft"}));
  full.prepare = [] { return dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO) == STDOUT_FILENO; };
  const Ended ended = Process(full).finish();
  EXPECT_EQ(ended.exit_code, 71);
  EXPECT_THAT(ended.err, HasSubstr("standard output cannot be written: No space left"));

  // Closed: no file of ours may get its number.
  ProcessOptions closed = slat_process(boot_hello("exit=0", {"--accel", "soft"}));
  closed.prepare = [] { return close(STDOUT_FILENO) == 0; };
  const Ended quiet = Process(closed).finish();
  EXPECT_EQ(quiet.exit_code, 0);
  EXPECT_EQ(quiet.err, "");
}

TEST_F(Boot, EndsWhereNobodyReadsItsOutput) {
  ProcessOptions options = slat_process(boot_hello("spin"));
  options.close_stdout = true;
  const Ended ended = Process(options).finish();
  EXPECT_FALSE(ended.timed_out);
  EXPECT_EQ(ended.exit_code, 128 + SIGPIPE);
}

} // namespace
} // namespace slat::test
