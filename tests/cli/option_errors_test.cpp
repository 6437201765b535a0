// Options that are wrong by themselves: refused with exit code 64 before anything of the host is touched.
#include "slat.hpp"

#include <gtest/gtest.h>

namespace slat::test {
namespace {

struct Case {
  const char* name;
  std::vector<std::string> arguments;
  std::vector<std::string> words;
};

void PrintTo(const Case& bad, std::ostream* stream) {
  *stream << bad.name;
}

std::string name_of(const testing::TestParamInfo<Case>& test) {
  return test.param.name;
}

class BadOptions : public testing::TestWithParam<Case> {};

TEST_P(BadOptions, GetOneLineAndExitCode64) {
  EXPECT_THAT(run_slat(GetParam().arguments), refused(64, GetParam().words));
}

std::vector<std::string> with(const std::vector<std::string>& more) {
  return boot_hello("", more);
}

std::vector<std::string> memory(const std::string& value) {
  return {"boot", "--kernel", hello_image(), "--memory", value};
}

INSTANTIATE_TEST_SUITE_P(
    Words, BadOptions,
    testing::Values(
        Case{"NoCommand", {}, {"no command", "boot, stress"}},
        Case{"UnknownCommand", {"fly"}, {"fly"}}, Case{"UnknownOption", {"--fast"}, {"--fast"}},
        Case{"UnknownOptionOfBoot", with({"--fast"}), {"--fast"}},
        Case{"BootWithoutKernel", {"boot"}, {"--kernel"}},
        Case{"StrayWord", with({"stray"}), {"stray"}},
        Case{"OptionWithoutValue", {"boot", "--kernel"}, {"--kernel"}},
        Case{"UnknownAccelerator", with({"--accel", "magic"}), {"--accel", "magic"}},
        Case{"UnknownStatsFormat", with({"--stats", "xml"}), {"--stats", "xml"}},
        Case{"UnknownStorm", {"stress", "--storm", "rain"}, {"--storm", "rain"}},
        Case{"UnknownCorruption", {"stress", "--corrupt", "all"}, {"--corrupt", "all"}},
        Case{"UnknownOrder", {"stress", "--order", "alphabetical"}, {"--order", "alphabetical"}},
        Case{"SecondsAndPasses", {"stress", "--seconds", "1", "--passes", "1"}, {"--passes"}},
        Case{"ZeroSeconds", {"stress", "--seconds", "0"}, {"--seconds"}},
        Case{"WriteAbove100", {"stress", "--write", "101"}, {"--write", "101"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Devices, BadOptions,
    testing::Values(
        Case{"DiskWithUnknownKey", with({"--disk", "path=a,speed=9"}), {"speed=9", "num_queues"}},
        Case{"DiskWithoutPath", with({"--disk", "readonly=on"}), {"--disk", "path=FILE"}},
        Case{"DiskHalfReadOnly",
             with({"--disk", "a,readonly=half"}),
             {"readonly=half", "on or off"}},
        Case{"DiskWithoutQueues", with({"--disk", "a,num_queues=0"}), {"num_queues=0", "1 to 16"}},
        Case{"DiskQueuesNotANumber", with({"--disk", "a,num_queues=2x"}), {"num_queues=2x"}},
        Case{"BalloonBeyondTheRam", with({"--balloon", "size=1T"}), {"size=1T", "at most"}},
        Case{"BalloonOfAPieceOfAPage", with({"--balloon", "size=5000"}), {"size=5000", "4K"}},
        Case{"BalloonWithUnknownKey", with({"--balloon", "shape=round"}), {"shape=round"}},
        Case{"UnknownConsole", with({"--console", "hvc"}), {"--console", "hvc"}},
        Case{"DevicesForAGuestWithoutDrivers",
             with({"--accel", "soft", "--rng"}),
             {"virtio", "is not Linux"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Numbers, BadOptions,
    testing::Values(
        Case{"CpusNegative", with({"--cpus", "-1"}), {"--cpus"}},
        Case{"CpusNotANumber", with({"--cpus", "two"}), {"--cpus", "two"}},
        Case{"CpusBeyondTheType", with({"--cpus", "99999999999999999999"}), {"--cpus"}},
        Case{"CpusZero", with({"--cpus", "0"}), {"--cpus", "0"}},
        Case{"FaultAroundZero", with({"--fault-around", "0"}), {"--fault-around", "power of two"}},
        Case{"FaultAroundNotAPower",
             with({"--fault-around", "3"}),
             {"--fault-around", "power of two"}},
        Case{"FaultAroundTooLarge", with({"--fault-around", "1024"}), {"--fault-around", "512"}},
        Case{"FaultAroundNotANumber", with({"--fault-around", "some"}), {"--fault-around", "some"}},
        Case{"FaultThreadsTooMany", with({"--fault-threads", "100000"}), {"--fault-threads"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Memory, BadOptions,
    testing::Values(
        Case{"Zero", memory("size=0"), {"--memory size=0", "too small"}},
        Case{"Absurd", memory("size=9999999T"), {"--memory"}},
        Case{"TooLarge", memory("size=1024T"), {"--memory", "too large"}},
        Case{"BeyondSixtyFourBits", memory("size=99999999999999999999"), {"64 bits"}},
        Case{"Unaligned", memory("size=16777217"), {"4 KiB", "the next one up"}},
        Case{"NotANumber", memory("size=lots"), {"lots", "256M"}},
        Case{"NegativeSize", memory("size=-1M"), {"-1M", "256M"}},
        Case{"UnknownSuffix", memory("size=16Q"), {"16Q", "suffix"}},
        Case{"TwoSuffixes", memory("size=16MB"), {"16MB", "suffix"}},
        Case{"NoSize", memory("size="), {"--memory"}},
        Case{"UnknownKey", memory("size=16M,colour=red"), {"unknown key 'colour'", "known: size"}},
        Case{"Empty", memory(""), {"--memory"}}),
    name_of);

TEST(BadOptions, CannotWriteControlCharactersToTheTerminal) {
  const Ended ended = run_slat(memory("size=\x1b[2Jx"));
  EXPECT_THAT(ended, refused(64, {"--memory"}));
  EXPECT_EQ(ended.err.find('\x1b'), std::string::npos) << "an escape sequence goes through";
}

} // namespace
} // namespace slat::test
