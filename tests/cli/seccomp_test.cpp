// That the filters are there, in each thread of a running guest, and in nobody's way.
#include "slat.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <map>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>

namespace slat::test {
namespace {

using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Key;
using testing::Pair;

/// The value of "Seccomp:" by the name of the thread; 2 is a filter.
std::map<std::string, int> seccomp_of_threads(pid_t pid) {
  std::map<std::string, int> found;
  std::error_code gone; // threads may end meanwhile
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
    std::ifstream status(task.path() / "status");
    std::string word, name;
    while (status >> word) {
      if (word == "Name:") status >> name;
      // KVM has a kernel thread of its own in the process, with the filter of whoever ran the first vCPU, or none.
      if (word == "Seccomp:" && name.starts_with("slat")) status >> found[name];
    }
  }
  return found;
}

/// As soon as all have this value; else after some seconds what they have.
std::map<std::string, int> settled(pid_t pid, int value) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (;;) {
    auto found = seccomp_of_threads(pid);
    const bool all = !found.empty() && std::ranges::all_of(found, [&](const auto& thread) {
      return thread.second == value;
    });
    if (all || std::chrono::steady_clock::now() > deadline) return found;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

class Seccomp : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (is_sanitized()) GTEST_SKIP() << "sanitizers make system calls of their own";
    if (accel() == "kvm") SLAT_NEEDS_GUEST();
  }

  static std::string accel() { return GetParam(); }

  /// A stress that does not end by itself, and is beyond its start.
  static Process running(const std::string& mode) {
    return Process(slat_process({"stress", "--accel", accel(), "--seconds", "600", "--memory",
                                 "64M", "--storm", "all", "--seccomp", mode}));
  }
};

INSTANTIATE_TEST_SUITE_P(Accel, Seccomp, testing::Values("kvm", "soft"),
                         [](const auto& accel) { return std::string(accel.param); });

TEST_P(Seccomp, EachThreadOfARunningGuestHasAFilter) {
  Process process = running("on");
  ASSERT_TRUE(process.wait_for_output("faults/s"));
  const auto threads = settled(process.pid(), 2);
  EXPECT_THAT(threads, testing::Each(Pair(testing::_, 2)));
  EXPECT_THAT(threads, IsSupersetOf({Key("slat"), Key("slat-vcpu-0"), Key("slat-vcpu-1"),
                                     Key("slat-storm"), Key("slat-reclaim")}));
  if (accel() == "kvm") EXPECT_THAT(threads, testing::Contains(Key("slat-fault-0")));
  process.send(SIGINT);
  const Ended ended = process.finish();
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.out, HasSubstr("slat stress: INTERRUPTED"));
}

TEST_P(Seccomp, OffMeansNone) {
  Process process = running("off");
  ASSERT_TRUE(process.wait_for_output("faults/s"));
  EXPECT_THAT(settled(process.pid(), 0), testing::Each(Pair(testing::_, 0)));
}

TEST_P(Seccomp, AllStormsPassUnderFilters) {
  const Ended ended = run_slat({"stress", "--accel", accel(), "--seconds", "1", "--memory", "64M",
                                "--storm", "all", "--stats", "json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("\"verdict\":\"PASS\""));
  EXPECT_THAT(ended.out, testing::ContainsRegex("\"vmm_resident_bytes\":[1-9]"));
}

TEST_P(Seccomp, LogPassesTheSame) {
  EXPECT_EQ(run_slat(boot_hello("exit=7", {"--accel", accel(), "--seccomp", "log"})).exit_code, 7);
}

TEST_P(Seccomp, ACrashReportComesAllTheSame) {
  const Ended ended = run_slat(boot_hello("crash=triple", {"--accel", accel()}));
  EXPECT_EQ(ended.exit_code, 70) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("code at rip"));
}

/// As a container may: no filters of one's own.
bool refuse_seccomp() {
  static const sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, const_cast<sock_filter*>(filter)};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_P(Seccomp, AHostThatRefusesFiltersIsToldOfTheOption) {
  ProcessOptions options = slat_process(boot_hello("", {"--accel", accel()}));
  options.prepare = refuse_seccomp;
  EXPECT_THAT(Process(options).finish(), refused(77, {"seccomp", "container", "--seccomp off"}));
  options = slat_process(boot_hello("exit=7", {"--accel", accel(), "--seccomp", "off"}));
  options.prepare = refuse_seccomp;
  EXPECT_EQ(Process(options).finish().exit_code, 7);
}

} // namespace
} // namespace slat::test
