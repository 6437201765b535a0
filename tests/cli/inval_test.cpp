// slat inval: the list, the matrix, figures, and plain errors. Needs no KVM.
#include "slat.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace slat::test {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

std::vector<std::string> inval(const std::vector<std::string>& more,
                               const std::vector<std::string>& size = {"--memory", "16M",
                                                                       "--seconds", "0.2"}) {
  std::vector<std::string> arguments = {"inval", "run", "--accel", "soft"};
  arguments.insert(arguments.end(), size.begin(), size.end());
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> names() {
  std::istringstream lines(run_slat({"inval", "list"}).out);
  std::vector<std::string> found;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80u) << line;
    found.push_back(line.substr(0, line.find(' ')));
  }
  return found;
}

TEST(Inval, ListsEachTestOnce) {
  const auto list = names();
  EXPECT_GE(list.size(), 10u);
  EXPECT_EQ(std::set<std::string>(list.begin(), list.end()).size(), list.size());
}

/// Each test of the list in every cell of one design; on software vCPUs nothing may be missing.
class InvalDesign : public testing::TestWithParam<const char*> {};

TEST_P(InvalDesign, EveryTestPassesOnSoftwareVcpus) {
  std::vector<std::string> arguments = {"--vma-lock", GetParam(), "--json"};
#ifdef SLAT_SANITIZED // too slow for all of them; the guests of vmm_guests/ have the storms
  const std::vector<std::string> tests = {"demand-paging-minor", "dirty-log", "page-table",
                                          "unmap-in-use"};
  arguments.insert(arguments.end(), tests.begin(), tests.end());
  const Ended ended = run_slat(inval(arguments, {"--memory", "8M", "--seconds", "0.2"}));
#else
  const std::vector<std::string> tests = names();
  const Ended ended = run_slat(inval(arguments));
#endif
  EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  const Json json = Json::parse(ended.out);
  EXPECT_EQ(json["passed"], tests.size());
  EXPECT_EQ(json["skipped"], 0);
  for (const Json& run : json["runs"]) {
    EXPECT_EQ(run["vma_lock"], GetParam());
    EXPECT_EQ(run["verdict"], "passed") << run.dump();
    EXPECT_FALSE(run["figures"].empty()) << run.dump();
  }
}

#ifdef SLAT_SANITIZED // slow there; other tests have the other designs
INSTANTIATE_TEST_SUITE_P(Designs, InvalDesign, testing::Values("vma-refcount"),
                         [](const auto&) { return std::string("refcount"); });
#else
INSTANTIATE_TEST_SUITE_P(Designs, InvalDesign,
                         testing::Values("mmap-lock", "spf", "vma-rwsem", "vma-refcount"),
                         [](const auto& design) {
                           std::string name = design.param;
                           std::erase(name, '-');
                           return name;
                         });
#endif

TEST(Inval, EveryTestPassesOnKvmOrSaysWhatItNeeds) {
  SLAT_NEEDS_GUEST();
  const Ended ended = run_slat({"inval", "run", "--accel", "kvm", "--vma-lock", "vma-refcount",
                                "--memory", "8M", "--seconds", "0.2"});
  EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  std::istringstream lines(ended.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_THAT(ended.out, HasSubstr("--accel soft has its own")) << "skipped, with the reason";
  EXPECT_THAT(ended.out, HasSubstr(" 0 failed"));
}

TEST(Inval, RepeatsWithTheNextSeed) {
  const Ended ended = run_slat(
      inval({"page-table", "--vma-lock", "spf", "--repeat", "2", "--seed", "40", "--json"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Json json = Json::parse(ended.out);
  ASSERT_EQ(json["runs"].size(), 2u);
  EXPECT_EQ(json["runs"][1]["seed"], 41);
}

TEST(Inval, SaysWhatIsWrongWithItsOptions) {
  const Ended unknown = run_slat(inval({"no-such-test"}));
  EXPECT_EQ(unknown.exit_code, 64);
  EXPECT_THAT(unknown.err, HasSubstr("slat: no test 'no-such-test'; `slat inval list` names them"));
  const Ended odd = run_slat(inval({}, {"--memory", "17M"}));
  EXPECT_EQ(odd.exit_code, 64);
  EXPECT_THAT(odd.err, HasSubstr("a multiple of 2M"));
}

TEST(Inval, NothingThatCouldRunIsNoSuccess) {
  const Ended ended = run_slat({"inval", "run", "zap", "--accel", "kvm", "--vma-lock", "spf",
                                "--kvm-device", "/nonexistent"});
  EXPECT_EQ(ended.exit_code, 69);
  EXPECT_THAT(ended.out, HasSubstr("0 passed, 0 failed, 1 skipped"));
  EXPECT_THAT(ended.out, HasSubstr("/nonexistent"));
}

TEST(Inval, EndsInGoodOrderOnCtrlC) {
  Process process(slat_process(inval({"zap"}, {"--seconds", "600"})));
  EXPECT_TRUE(process.wait_for_output("zap soft"));
  process.send(SIGINT);
  const Ended ended = process.finish();
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.out, HasSubstr("; interrupted"));
}

} // namespace
} // namespace slat::test
