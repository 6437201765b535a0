// The same seeded run on KVM and on software vCPUs: every access through the kernel's stage-2 in one and through ours in
// the other, and in the end the same memory and the same mailbox.
#include "slat.hpp"

#include <array>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <ostream>

namespace slat::test {
namespace {

struct Run {
  std::string vma_lock;
  std::string storm; // empty: none
  unsigned cpus;
  std::string order;
};

void PrintTo(const Run& run, std::ostream* out) {
  *out << run.vma_lock << ", storm '" << run.storm << "', " << run.cpus << " vCPUs, " << run.order;
}

#ifdef SLAT_SANITIZED // slow; the other presets have all
constexpr bool sanitized = true;
constexpr std::array vma_locks = {"vma-refcount"};
#else
constexpr bool sanitized = false;
constexpr std::array vma_locks = {"mmap-lock", "spf", "vma-rwsem", "vma-refcount"};
#endif

std::vector<Run> runs() {
  std::vector<Run> all;
  for (const char* vma_lock : vma_locks)
    for (const char* storm : {"", "zap"}) {
      all.push_back({vma_lock, storm, 1, "mix"});
      all.push_back({vma_lock, storm, 2, "random"});
    }
  return all;
}

class Differential : public testing::TestWithParam<Run> {};

/// The statistics, or an empty object and a failure.
nlohmann::json stress(const Run& run, const std::string& accel, const std::string& seed) {
  std::vector<std::string> arguments = {"stress",
                                        "--memory",
                                        "size=16M",
                                        "--accel",
                                        accel,
                                        "--cpus",
                                        std::to_string(run.cpus),
                                        "--order",
                                        run.order,
                                        "--seed",
                                        seed,
                                        "--vma-lock",
                                        run.vma_lock,
                                        "--passes",
                                        sanitized ? "1" : "2",
                                        "--stats",
                                        "json"};
  if (!run.storm.empty())
    arguments.insert(arguments.end(), {"--storm", run.storm, "--storm-rate", "5000"});
  const Ended ended = run_slat(arguments);
  EXPECT_EQ(ended.exit_code, 0) << accel << ": " << ended.err;
  auto stats = nlohmann::json::parse(ended.out, nullptr, false);
  EXPECT_TRUE(stats.is_object()) << ended.out;
  EXPECT_EQ(stats.value("accelerator", ""), accel);
  if (!run.storm.empty()) {
    EXPECT_GT(stats.value("invalidated_pages", 0), 0) << accel << ": no storm";
  }
  return stats.is_object() ? stats : nlohmann::json::object();
}

TEST_P(Differential, KvmAndSoftEndInTheSameMemoryAndTheSameMailbox) {
  SLAT_NEEDS_GUEST();
  const auto by_kvm = stress(GetParam(), "kvm", "42");
  const auto by_soft = stress(GetParam(), "soft", "42");
  for (const char* name : {"memory_digest", "mailbox_digest"}) {
    EXPECT_EQ(by_kvm.value(name, "none").size(), 16u) << name;
    EXPECT_EQ(by_kvm.value(name, "none"), by_soft.value(name, "missing")) << name << ", seed 42";
  }
  if (sanitized) return;
  const auto other = stress(GetParam(), "soft", "43");
  EXPECT_NE(other.value("memory_digest", "none"), by_soft.value("memory_digest", "none"))
      << "blind to the seed";
}

INSTANTIATE_TEST_SUITE_P(Runs, Differential, testing::ValuesIn(runs()), [](const auto& test) {
  std::string name = test.param.vma_lock + (test.param.storm.empty() ? "_quiet_" : "_storm_") +
                     std::to_string(test.param.cpus);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

} // namespace
} // namespace slat::test
