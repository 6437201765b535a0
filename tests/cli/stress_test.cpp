// slat stress: the verdict is right for good memory and for memory that was damaged on purpose.
#include "slat.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace slat::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

std::vector<std::string> stress(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"stress", "--memory", "size=64M"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// The same on software vCPUs, with less memory: under sanitizers they take long to set it up.
std::vector<std::string> soft_stress(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"stress", "--memory", "size=16M", "--accel", "soft"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

class Stress : public testing::Test {
 protected:
  void SetUp() override { SLAT_NEEDS_GUEST(); }
};

TEST_F(Stress, PassesUnderAZapStorm) {
  const Ended ended = run_slat(stress({"--seconds", "2", "--storm", "zap"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, HasSubstr("slat stress: PASS"));
  EXPECT_THAT(ended.out, ContainsRegex("pages verified +[1-9]"));
  EXPECT_THAT(ended.out, ContainsRegex("faults served +[1-9]"));
  EXPECT_THAT(ended.out, ContainsRegex("pages invalidated +[1-9]"));
  EXPECT_THAT(ended.out, ContainsRegex("mismatches +0\n"));
}

TEST(StressSoft, PassesUnderAZapStormWithoutKvm) {
  const Ended ended = run_slat(soft_stress(
      {"--kvm-device", "/nonexistent", "--seconds", "2", "--storm", "zap", "--stats", "json"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const auto stats = nlohmann::json::parse(ended.out, nullptr, false);
  ASSERT_TRUE(stats.is_object()) << ended.out;
  EXPECT_EQ(stats.value("verdict", ""), "PASS");
  EXPECT_EQ(stats.value("accelerator", ""), "soft");
  for (const char* name : {"stage2_fault_count", "guest_instruction_count", "invalidated_pages",
                           "installed_pages", "verified_page_count"})
    EXPECT_GT(stats.value(name, std::uint64_t{0}), 0u) << name;
  EXPECT_EQ(stats.value("uffd_minor_count", 1), 0);
}

TEST(StressSoft, PassesUnderAllStormsAtOnceWithHugeLeaves) {
  nlohmann::json stats;
  // Longer where a slow host has not come round to what was discarded.
  for (const char* const seconds : {"3", "12", "48"}) {
    const Ended ended =
        run_slat(soft_stress({"--seconds", seconds, "--storm", "all", "--storm-rate", "2000",
                              "--fault-around", "512", "--stats", "json"}));
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    stats = nlohmann::json::parse(ended.out, nullptr, false);
    ASSERT_TRUE(stats.is_object()) << ended.out;
    EXPECT_EQ(stats.value("mismatch_count", 1), 0);
    if (stats.value("discarded_page_read_count", 0) > 0) break;
  }
  for (const char* kind :
       {"zap", "pageout", "cold", "reclaim", "discard", "notifier", "dirty", "split", "collapse"})
    EXPECT_GT(stats["storm_ranges"].value(kind, 0), 0) << kind;
  EXPECT_GT(stats.value("reclaimed_pages", 0), 0);
  EXPECT_GT(stats.value("restored_pages", 0), 0);
  EXPECT_GT(stats.value("discarded_page_read_count", 0), 0);
  EXPECT_GE(stats.value("discarded_page_count", 0), stats.value("discarded_page_read_count", 0));
  ASSERT_TRUE(stats.contains("reclaim_store"));
  EXPECT_GT(stats["reclaim_store"].value("put_pages", 0), 0);
  EXPECT_EQ(stats["reclaim_store"].value("damaged_pages", 1), 0);
}

TEST_F(Stress, PassesUnderAReclaimStormAndSaysWhatCameBack) {
  const Ended ended = run_slat(
      stress({"--accel", "kvm", "--seconds", "2", "--storm", "reclaim", "--stats", "text"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, ContainsRegex("storm: reclaim +[1-9]"));
  EXPECT_THAT(ended.out, ContainsRegex("pages reclaimed, restored +[1-9][0-9]*, [1-9]"));
  EXPECT_THAT(ended.out, ContainsRegex("compressed to, same-filled +[0-9.]+ %, [0-9]+"));
  EXPECT_THAT(ended.out, ContainsRegex("reclaim_store.damaged_pages +0\n"));
}

TEST_F(Stress, PassesUnderADiscardStormAndSaysWhatReadAsZero) {
  const Ended ended = run_slat(stress({"--accel", "kvm", "--seconds", "2", "--storm", "discard"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, ContainsRegex("storm: discard +[1-9]"));
  EXPECT_THAT(ended.out, ContainsRegex("pages discarded, read as zero +[1-9][0-9]*, [1-9]"));
}

TEST_F(Stress, PassesUnderAllStormsThatKvmHas) {
  const Ended ended = run_slat(
      stress({"--accel", "kvm", "--seconds", "2", "--storm", "all", "--storm-rate", "2000"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, ContainsRegex("storm: notifier +[1-9]"));
  EXPECT_THAT(ended.out, testing::Not(HasSubstr("storm: split")));
}

TEST(StressOptions, ThatMakeNoSenseAreRefusedBeforeTheGuestStarts) {
  EXPECT_THAT(run_slat({"stress", "--accel", "kvm", "--storm", "dirty"}),
              testing::AnyOf(refused(64, {"--storm dirty", "--accel soft"}), refused(69, {"kvm"}),
                             refused(77, {"kvm"})));
  EXPECT_THAT(run_slat({"stress", "--storm", "zap,rain"}), refused(64, {"'rain'", "notifier"}));
  EXPECT_THAT(run_slat({"stress", "--storm", ","}), refused(64, {"no storm ''"}));
  EXPECT_THAT(run_slat({"stress", "--storm-rate", "5"}), refused(64, {"--storm"}));
  EXPECT_THAT(run_slat({"stress", "--passes", "0"}), refused(64, {"--passes"}));
  EXPECT_THAT(run_slat({"stress", "--mib", "0"}), refused(64, {"--mib"}));
  EXPECT_THAT(run_slat({"stress", "--cpus", "61"}), refused(64, {"--cpus 61", "60"}));
}

TEST(StressSoft, FindsTheStalePageThatTheGuestPlants) {
  const Ended ended =
      run_slat(soft_stress({"--seconds", "2", "--storm", "zap", "--corrupt", "stale"}));
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.out, HasSubstr("first mismatch: stale page"));
}

TEST_F(Stress, PassesWithoutAStorm) {
  const Ended ended = run_slat(stress({"--seconds", "1", "--cpus", "1"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, ContainsRegex("storm +none"));
  EXPECT_THAT(ended.out, ContainsRegex("invalidations +0\n"));
}

TEST_F(Stress, GivesStatisticsAsOneLineOfJsonOnStandardOutput) {
  const Ended ended = run_slat(stress({"--seconds", "2", "--storm", "zap", "--stats", "json"}));
  EXPECT_EQ(ended.exit_code, 0);
  const auto stats = nlohmann::json::parse(ended.out, nullptr, false);
  ASSERT_TRUE(stats.is_object()) << ended.out;
  EXPECT_EQ(stats.value("verdict", ""), "PASS");
  EXPECT_EQ(stats.value("exit_code", -1), 0);
  EXPECT_EQ(stats.value("mismatch_count", -1), 0);
  for (const char* name : {"fault_count", "installed_pages", "invalidate_count",
                           "invalidated_pages", "uffd_minor_count", "resident_bytes",
                           "vmm_resident_bytes", "guest_memory_bytes", "page_visit_count"})
    EXPECT_GT(stats.value(name, std::uint64_t{0}), 0u) << name;
  for (const char* name : {"fault_retry_count", "fault_wait_count", "tlb_flush_count",
                           "efault_count", "mm_lock_fallback_count", "poisoned_pages"})
    EXPECT_TRUE(stats.contains(name)) << name;
  for (const char* part : {"count", "p50", "p90", "p99", "p999", "max"})
    EXPECT_TRUE(stats["fault_latency_ns"].contains(part)) << part;
  EXPECT_EQ(stats.value("poisoned_pages", 1), 0);
}

TEST_F(Stress, GivesStatisticsAsTextBelowTheTable) {
  const Ended ended = run_slat(stress({"--seconds", "1", "--stats", "text"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_LT(ended.out.find("slat stress: PASS"), ended.out.find("fault_latency_ns.p99"));
}

TEST_F(Stress, TakesASeedAndPasses) {
  for (const char* seed : {"7", "7", "18446744073709551615"}) {
    const Ended ended = run_slat(stress({"--passes", "1", "--seed", seed, "--storm", "zap"}));
    EXPECT_EQ(ended.exit_code, 0) << seed;
  }
}

TEST_F(Stress, PassesUnderEachDesignOfVmaLocks) {
  for (const char* design : {"mmap-lock", "spf", "vma-rwsem", "vma-refcount"}) {
    const Ended ended = run_slat(stress({"--passes", "1", "--storm", "zap", "--vma-lock", design}));
    EXPECT_EQ(ended.exit_code, 0) << design;
    EXPECT_THAT(ended.out, HasSubstr("slat stress: PASS")) << design;
  }
}

class Corruption : public testing::TestWithParam<const char*> {};

TEST_P(Corruption, IsFoundAndNamed) {
  SLAT_NEEDS_GUEST();
  const std::string kind = GetParam();
  const Ended ended = run_slat(stress({"--seconds", "2", "--storm", "zap", "--corrupt", kind}));
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.out, HasSubstr("slat stress: FAIL"));
  EXPECT_THAT(ended.out, HasSubstr("first mismatch: " + kind + " page"));
}

INSTANTIATE_TEST_SUITE_P(Kinds, Corruption,
                         testing::Values("zeroed", "stale", "lost", "foreign", "corrupt",
                                         "counter"),
                         [](const auto& test) { return std::string(test.param); });

TEST_F(Stress, SaysWhichParameterTheGuestRefuses) {
  const Ended ended = run_slat(stress({"--mib", "4096", "--seconds", "1"}));
  EXPECT_EQ(ended.exit_code, 64);
  EXPECT_THAT(ended.out, HasSubstr("slat stress: REFUSED"));
  EXPECT_THAT(ended.out, HasSubstr("mib"));
}

} // namespace
} // namespace slat::test
