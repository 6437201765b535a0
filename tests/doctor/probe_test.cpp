// The doctor's questions to the real kernel, with devices of our choice.
#include "fake_host.hpp"
#include "vmm/seccomp.hpp"

#include <cerrno>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace slat::tool {
namespace {

TEST(DoctorProbe, AHostWithoutDevicesIsExaminedAllTheSame) {
  const FakeHost host;
  const HostFacts facts = collect_host_facts(host.paths());
  ASSERT_TRUE(facts.kvm.open_error);
  EXPECT_EQ(facts.kvm.open_error->code, kvm::Errc::no_device);
  ASSERT_TRUE(facts.uffd.open_error);
  EXPECT_EQ(facts.uffd.open_error->code, kvm::Errc::no_device);
  EXPECT_EQ(facts.memory.memfd, 0);
  EXPECT_EQ(facts.memory.punch, 0);
  EXPECT_GE(facts.cpu.usable, 1u);
  EXPECT_EQ(facts.seccomp.in_this_build, vmm::seccomp_in_this_build);
  EXPECT_EQ(exit_code_of(judge(facts)), 69);
}

TEST(DoctorProbe, AFileIsNoKvm) {
  const FakeHost host;
  host.put("dev/kvm", "");
  const HostFacts facts = collect_host_facts(host.paths());
  ASSERT_TRUE(facts.kvm.open_error);
  EXPECT_EQ(facts.kvm.open_error->code, kvm::Errc::not_supported);
}

TEST(DoctorProbe, LimitsOfThisProcessAreSeen) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit lower = before;
  lower.rlim_cur = 41;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
  const FakeHost host;
  EXPECT_EQ(collect_host_facts(host.paths()).limits.open_files, 41u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(DoctorProbe, NoDescriptorsLeftIsAFindingToo) {
#if defined(__SANITIZE_ADDRESS__)
#define SLAT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAT_ASAN 1
#endif
#endif
#ifdef SLAT_ASAN
  GTEST_SKIP() << "UBSan opens a pipe to look at an object, and takes EMFILE for a bad object";
#endif
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit lower = before;
  lower.rlim_cur = 0;
  const FakeHost host;
  const HostPaths paths = host.paths();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
  const HostFacts facts = collect_host_facts(paths);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(facts.memory.memfd, EMFILE);
  EXPECT_FALSE(facts.memory.punch);
  EXPECT_EQ(exit_code_of(judge(facts)), 69);
}

TEST(DoctorProbe, ARealHostIsExaminedTwiceWithTheSameResult) {
  const Report first = judge(collect_host_facts());
  const Report second = judge(collect_host_facts());
  ASSERT_EQ(first.checks.size(), second.checks.size());
  for (std::size_t i = 0; i < first.checks.size(); ++i)
    EXPECT_EQ(first.checks[i].status, second.checks[i].status) << first.checks[i].name;
}

} // namespace
} // namespace slat::tool
