// slat bench: each benchmark gives figures and ratios, as a table and as JSON, ends cleanly, and compares itself with an
// earlier run. How large a figure is, no test asks.
#include "slat.hpp"

#include <algorithm>

#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace slat::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::vector<std::string> quick_mmu = {"mmu", "--cell-ms",  "2",     "--threads",
                                            "1",   "--vmas",     "16",    "--writer-rate",
                                            "0",   "--workload", "lookup"};

Ended bench(const std::vector<std::string>& arguments, const std::vector<std::string>& more = {}) {
  std::vector<std::string> all = {"bench"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  all.insert(all.end(), more.begin(), more.end());
  return run_slat(all);
}

/// One round, and small; on the software vCPU alone, where it runs guests.
std::vector<std::string> quick(const std::string& name) {
  std::vector<std::string> arguments = {name, "--rounds", "1"};
  const auto add = [&](const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
  };
  if (name == "mmu") {
    add({"--cell-ms", "40", "--threads", "1", "--writer-rate", "0", "--workload",
         "lock,map-unmap"});
  } else if (name == "stage2") {
    add({"--pages", "512", "--threads", "1,2"});
  } else {
    add({"--accel", "soft"});
    if (name == "footprint")
      add({"--memory", "8M,16M", "--vcpus", "1,2"});
    else
      add({"--memory", "size=8M"});
  }
  if (name == "softcpu") add({"--vcpus", "1,2", "--cell-ms", "50"});
  if (name == "invalidate") add({"--ranges", "2000", "--subscribers", "2"});
  return arguments;
}

std::string parameter_name(const testing::TestParamInfo<const char*>& of) {
  std::string name = of.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class Bench : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(All, Bench,
                         testing::Values("mmu", "stage2", "softcpu", "demand-paging", "dirty-log",
                                         "access-tracking", "invalidate", "boot", "footprint"),
                         parameter_name);

TEST_P(Bench, GivesFiguresAndRatiosAsOneJsonObject) {
  const Ended ended = bench(quick(GetParam()), {"--json"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const json run = json::parse(ended.out);
  EXPECT_EQ(run.at("schema"), "slat-bench/1");
  EXPECT_EQ(run.at("bench"), GetParam());
  EXPECT_EQ(run.at("rounds"), 1);
  EXPECT_GT(run.at("host").at("cpus"), 0);
  EXPECT_TRUE(run.at("options").is_object());
  ASSERT_FALSE(run.at("figures").empty());
  std::set<std::string> names;
  for (const json& figure : run.at("figures")) {
    EXPECT_TRUE(names.insert(figure.at("name")).second) << figure.at("name");
    EXPECT_FALSE(figure.at("unit").get<std::string>().empty());
    EXPECT_LE(figure.at("min"), figure.at("median"));
    EXPECT_LE(figure.at("median"), figure.at("max"));
    EXPECT_TRUE(figure.at("labels").is_object());
  }
  ASSERT_FALSE(run.at("ratios").empty());
  for (const json& ratio : run.at("ratios")) {
    EXPECT_TRUE(names.insert(ratio.at("name")).second) << ratio.at("name");
    EXPECT_THAT(ratio.at("better"), testing::AnyOf("higher", "lower"));
    EXPECT_GE(ratio.at("median"), 0);
  }
}

TEST_P(Bench, PrintsATable) {
  const Ended ended = bench(quick(GetParam()));
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("median"));
  EXPECT_THAT(ended.out, HasSubstr("ratio"));
}

class BenchEnd : public testing::TestWithParam<const char*> {};

// Without a guest, with some, with one after the other, with children.
INSTANTIATE_TEST_SUITE_P(All, BenchEnd,
                         testing::Values("mmu", "access-tracking", "dirty-log", "boot"),
                         parameter_name);

TEST_P(BenchEnd, ComesWithCtrlCAtOnce) {
  std::vector<std::string> arguments = quick(GetParam());
  arguments.insert(arguments.begin(), "bench");
  arguments.at(3) = "1000"; // rounds
  Process process(slat_process(arguments));
  // The first progress line comes after 5 s where standard error is no terminal.
  ASSERT_TRUE(process.wait_for_output("of 1000: "));
  process.send(SIGINT);
  const Ended ended = process.finish();
  EXPECT_EQ(ended.exit_code, 130) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("interrupted"));
}

TEST(BenchMmu, HasAColumnForEachDesignAndForTheObviousAlternative) {
  const Ended ended = bench(
      {"mmu", "--rounds", "1", "--cell-ms", "2", "--threads", "1,2", "--writer-rate", "0,500"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* word :
       {"mmap-lock", "spf", "vma-rwsem", "vma-refcou", "std::map", "lookup", "lock", "fault",
        "notify", "srcu", "map-unmap", "one-vma", "own-vma", "map-touch"})
    EXPECT_THAT(ended.out, HasSubstr(word));
}

TEST(BenchMmu, RefusesWhatMakesNoSense) {
  EXPECT_EQ(bench(quick_mmu, {"--workload", "teleport"}).exit_code, 64);
  EXPECT_EQ(bench({"mmu", "--threads", "0"}).exit_code, 64);
  EXPECT_EQ(bench({"mmu", "--threshold", "5"}).exit_code, 64) << "without --compare";
}

TEST(BenchUffd, NeedsKvm) {
  EXPECT_EQ(bench({"uffd", "--accel", "soft"}).exit_code, 64);
  SLAT_NEEDS_GUEST();
  const Ended ended = bench({"uffd", "--rounds", "1", "--memory", "size=8M", "--json"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(json::parse(ended.out).at("ratios").size(), 2u);
}

TEST(BenchUffd, ComparesKvmWithTheSoftwareVcpuInOneRun) {
  SLAT_NEEDS_GUEST();
  const Ended ended =
      bench({"demand-paging", "--rounds", "1", "--memory", "size=8M", "-u", "missing", "--json"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("kvm:soft/vma-refcount"));
}

class BenchDemandPaging : public testing::Test {
 protected:
  /// Figures by name, of one round without fault-around.
  static std::map<std::string, double> figures(const std::string& accel, const std::string& memory,
                                               const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"demand-paging", "--rounds",       "1", "--memory",
                                          memory,          "--fault-around", "1", "--accel",
                                          accel,           "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ended ended = bench(arguments);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    const json run = json::parse(ended.out);
    options_ = run.at("options");
    std::map<std::string, double> found;
    for (const json& figure : run.at("figures")) found[figure.at("name")] = figure.at("median");
    return found;
  }

  static void expect_delayed(const std::string& accel) {
    const auto found = figures(accel, "4M", {"--delay", "300"});
    EXPECT_EQ(options_.at("delay_us"), 300);
    const std::string cell = accel + "/vma-refcount/around-1";
    const double faults = found.at(cell + "/faults");
    EXPECT_GT(faults, 256) << "of more than 1 MiB";
    // But one that had begun before the time, and one that had not ended.
    EXPECT_GE(found.at(cell + "/time"), 300e-6 * (faults - 2));
  }

  static inline json options_; // of the last run
  const std::string cell_ = "soft/vma-refcount/around-1";
};

TEST_F(BenchDemandPaging, DelaysEachFault) {
  expect_delayed("soft");
}

TEST_F(BenchDemandPaging, DelaysEachFaultOfKvm) {
  SLAT_NEEDS_GUEST();
  expect_delayed("kvm");
}

TEST_F(BenchDemandPaging, OverlapHasEachVcpuTouchAllPages) {
  // All begin with the same page, and none is ahead of the others by more than the page that it waits for: so each page
  // takes its time. Where each has a part of its own, several pages come in that time.
  const auto found = figures(
      "soft", "4M",
      {"-u", "missing", "--delay", "300", "--cpus", "4", "--overlap", "--backing", "shmem"});
  EXPECT_EQ(options_.at("overlap"), true);
  EXPECT_EQ(options_.at("backing"), json::array({"shmem"}));
  EXPECT_GT(found.at(cell_ + "/faults"), 256);
  EXPECT_LE(found.at(cell_), 1 / 300e-6) << "pages/s";
}

/// Empty, or why there are no huge pages for shared memory here.
std::string why_no_huge_pages() {
  const Ended ended = bench({"demand-paging", "--rounds", "1", "--memory", "4M", "--accel", "soft",
                             "--backing", "shmem_thp"});
  return ended.exit_code == 69 ? ended.err : std::string();
}

TEST_F(BenchDemandPaging, HasHugePagesBehindTheRam) {
  if (const std::string why = why_no_huge_pages(); !why.empty()) GTEST_SKIP() << why;
  const auto found = figures("soft", "16M", {"-u", "missing", "--backing", "shmem,shmem_thp"});
  EXPECT_TRUE(found.contains(cell_ + "/time"));
  EXPECT_GE(found.at(cell_ + "/shmem_thp/huge pages"), 2048) << "KiB";
}

TEST_F(BenchDemandPaging, SkipsABackingThatTheHostLacksAndSaysWhy) {
  const std::string why = why_no_huge_pages();
  if (why.empty()) GTEST_SKIP() << "this host has huge pages for shared memory";
  EXPECT_THAT(why, testing::AllOf(HasSubstr("shmem_thp"), HasSubstr("shmem_enabled")));
  const Ended ended = bench({"demand-paging", "--rounds", "1", "--memory", "4M", "--accel", "soft",
                             "--json", "--backing", "shmem_thp,shmem"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("shmem_thp is skipped: "));
  EXPECT_EQ(json::parse(ended.out).at("options").at("backing"), json::array({"shmem"}));
}

TEST_F(BenchDemandPaging, RefusesWhatMakesNoSense) {
  EXPECT_THAT(bench({"demand-paging", "--delay", "-1"}), refused(64, {"--delay", "0 to 1000000"}));
  EXPECT_THAT(bench({"demand-paging", "--delay", "soon"}), refused(64, {"--delay"}));
  EXPECT_THAT(bench({"demand-paging", "--backing", "tape"}),
              refused(64, {"--backing", "tape", "shmem_thp"}));
  EXPECT_THAT(bench({"demand-paging", "--overlap=maybe"}), refused(64, {"--overlap"}));
}

class BenchCompare : public testing::Test {
 protected:
  /// A baseline with one ratio of quick_mmu.
  [[nodiscard]] std::string baseline(double ratio, const std::string& bench_name = "mmu") const {
    const json run = {
        {"schema", "slat-bench/1"},
        {"bench", bench_name},
        {"ratios", {{{"name", "lookup/1/0/vma-refcount:mmap-lock"}, {"median", ratio}}}}};
    return directory_.write("baseline.json", json::array({run}).dump());
  }

  TemporaryDirectory directory_;
};

TEST_F(BenchCompare, IsContentWithARunThatIsNoWorse) {
  const Ended ended = bench(quick_mmu, {"--rounds", "1", "--compare", baseline(1e-6)});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("no ratio is worse by more than 15 %"));
}

TEST_F(BenchCompare, FailsOnlyAfterARatioWasWorseEachTime) {
  const Ended ended =
      bench(quick_mmu, {"--rounds", "1", "--attempts", "2", "--compare", baseline(1e6)});
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.out, HasSubstr("measuring again (2 of 2)"));
  EXPECT_THAT(ended.err, HasSubstr("lookup/1/0/vma-refcount:mmap-lock is worse by more than 15 %"));
}

TEST_F(BenchCompare, TellsWhatIsWrongWithABaseline) {
  const auto refusal = [&](const std::string& file) {
    return bench(quick_mmu, {"--rounds", "1", "--compare", file});
  };
  EXPECT_EQ(refusal("/nonexistent/baseline.json").exit_code, 66);
  EXPECT_THAT(refusal(directory_.write("empty", "")), refused(64, {"not JSON", "--json"}));
  EXPECT_THAT(refusal(directory_.write("other", "[1]")), refused(64, {"not a document"}));
  EXPECT_THAT(refusal(baseline(1, "uffd")), refused(64, {"no run of `slat bench mmu`"}));
  EXPECT_THAT(
      refusal(directory_.write("odd", R"({"schema":"slat-bench/1","bench":"mmu","ratios":[{}]})")),
      refused(64, {"lacks a name or a median"}));
}

} // namespace
} // namespace slat::test
