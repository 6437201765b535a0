// Hosts that lack something: the device, the permission, userfaultfd, descriptors, memory.
#include "slat.hpp"

#include <cstddef>
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slat::test {
namespace {

using testing::AnyOf;

constexpr uid_t nobody = 65534;

Ended boot_with_device(const std::string& device) {
  return run_slat(boot_hello("", {"--accel", "kvm", "--kvm-device", device}));
}

/// That the guest ran in software, and that one line on standard error says why.
void expect_soft(const Ended& ended, const std::vector<std::string>& words) {
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, testing::HasSubstr("hello"));
  EXPECT_THAT(ended.err, testing::StartsWith("slat: no KVM: "));
  EXPECT_THAT(ended.err, testing::EndsWith("(--accel soft)\n"));
  for (const std::string& word : words) EXPECT_THAT(ended.err, testing::HasSubstr(word));
}

TEST(KvmDevice, WithoutItAutoRunsTheGuestInSoftwareAndSaysSo) {
  expect_soft(run_slat(boot_hello("", {"--kvm-device", "/nonexistent"})), {"/nonexistent"});
  expect_soft(run_slat(boot_hello("", {"--kvm-device", "/dev/null"})), {"not a KVM device"});
}

TEST(KvmDevice, SoftDoesNotAskForIt) {
  const Ended ended = run_slat(boot_hello("", {"--accel", "soft", "--kvm-device", "/nonexistent"}));
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_EQ(ended.err, "");
}

TEST(KvmDevice, Missing) {
  EXPECT_THAT(boot_with_device("/nonexistent"),
              refused(69, {"/nonexistent", "No such file", "kvm"}));
}

TEST(KvmDevice, IsARegularFile) {
  const TemporaryDirectory directory;
  const std::string file = directory.write("kvm", "not a device");
  EXPECT_THAT(boot_with_device(file), refused(69, {file, "not a KVM device", "/dev/kvm"}));
}

TEST(KvmDevice, IsAnotherDevice) {
  EXPECT_THAT(boot_with_device("/dev/null"), refused(69, {"/dev/null", "not a KVM device"}));
}

TEST(KvmDevice, IsADirectory) {
  EXPECT_THAT(boot_with_device("/"), AnyOf(refused(69, {"/"}), refused(71, {"/"})));
}

TEST(KvmDevice, MayNotBeOpenedByThisUser) {
  const TemporaryDirectory directory;
  const std::string file = directory.write("kvm", "");
  ASSERT_EQ(chmod(file.c_str(), 0), 0);
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  ProcessOptions options = slat_process(boot_hello("", {"--accel", "kvm", "--kvm-device", file}));
  if (geteuid() == 0)
    options.prepare = [] {
      return setgroups(0, nullptr) == 0 && setgid(nobody) == 0 && setuid(nobody) == 0;
    };
  EXPECT_THAT(Process(options).finish(), refused(77, {file, "Permission denied", "group kvm"}));
}

/// Makes both ways to a userfaultfd fail with `error`, for this process and what it execs.
bool forbid_userfaultfd(unsigned error) {
  const auto load = [](std::size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, std::uint32_t(offset));
  };
  sock_filter code[] = {
      load(offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_userfaultfd, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 3),
      load(offsetof(seccomp_data, args) + sizeof(std::uint64_t)), // the request: low half first
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, _IO(0xAA, 0x00), 0, 1), // USERFAULTFD_IOC_NEW
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

Ended boot_without_userfaultfd(unsigned error, const std::string& accel = "kvm") {
  ProcessOptions options = slat_process(boot_hello("", {"--accel", accel}));
  options.prepare = [error] { return forbid_userfaultfd(error); };
  return Process(options).finish();
}

TEST(NoUserfaultfd, Forbidden) {
  SLAT_NEEDS_GUEST();
  const Ended ended = boot_without_userfaultfd(EPERM);
  if (ended.exit_code == 126) GTEST_SKIP() << "this kernel has no seccomp filters";
  EXPECT_THAT(ended, refused(77, {"userfaultfd", "vm.unprivileged_userfaultfd"}));
}

TEST(NoUserfaultfd, NotBuiltIntoTheKernel) {
  SLAT_NEEDS_GUEST();
  const Ended ended = boot_without_userfaultfd(ENOSYS);
  if (ended.exit_code == 126) GTEST_SKIP() << "this kernel has no seccomp filters";
  EXPECT_THAT(ended, refused(69, {"userfaultfd", "CONFIG_USERFAULTFD"}));
}

TEST(NoUserfaultfd, AutoRunsTheGuestInSoftware) {
  SLAT_NEEDS_GUEST();
  const Ended ended = boot_without_userfaultfd(EPERM, "auto");
  if (ended.exit_code == 126) GTEST_SKIP() << "this kernel has no seccomp filters";
  expect_soft(ended, {"userfaultfd"});
}

Ended boot_limited(decltype(RLIMIT_AS) resource, rlim_t limit, const std::string& memory = "16M") {
  ProcessOptions options =
      slat_process({"boot", "--kernel", hello_image(), "--memory", "size=" + memory});
  options.prepare = [resource, limit] {
    const rlimit value{limit, limit};
    return setrlimit(resource, &value) == 0;
  };
  return Process(options).finish();
}

TEST(HostLimit, DescriptorsRunOutAnywhere) {
  SLAT_NEEDS_GUEST();
  if (is_sanitized())
    GTEST_SKIP() << "UBSan opens a pipe to look at an object, and takes EMFILE for a bad object";
  int refusals = 0;
  // Each count stops it at another call; with enough of them it boots. The dynamic loader needs the fifth.
  for (rlim_t count = 5; count < 24; ++count) {
    const Ended ended = boot_limited(RLIMIT_NOFILE, count);
    if (ended.exit_code == 0) break;
    if (ended.exit_code == 127) continue; // too few for the dynamic loader, which speaks for itself
    ++refusals;
    EXPECT_THAT(ended, refused(75, {"open files"})) << "with " << count << " descriptors";
  }
  EXPECT_GT(refusals, 3);
}

TEST(HostLimit, FileSizeBelowGuestMemory) {
  SLAT_NEEDS_GUEST();
  EXPECT_THAT(boot_limited(RLIMIT_FSIZE, 1 << 20), refused(75, {"guest memory", "RLIMIT_FSIZE"}));
}

TEST(HostLimit, AddressSpaceBelowGuestMemory) {
  SLAT_NEEDS_GUEST();
  if (is_sanitized()) GTEST_SKIP() << "a sanitizer reserves more address space than any limit";
  EXPECT_THAT(boot_limited(RLIMIT_AS, rlim_t{1} << 30, "4G"), refused(75, {"guest memory"}));
}

TEST(HostLimit, MoreVcpusThanTheHostAllows) {
  SLAT_NEEDS_GUEST();
  EXPECT_THAT(run_slat(boot_hello("", {"--accel", "kvm", "--cpus", "60000"})),
              refused(64, {"--cpus 60000", "kvm allows 1 to"}));
}

TEST(HostLimit, MoreVcpusThanSoftAllows) {
  EXPECT_THAT(run_slat(boot_hello("", {"--accel", "soft", "--cpus", "256"})),
              refused(64, {"--cpus 256", "soft allows 1 to 255"}));
}

} // namespace
} // namespace slat::test
