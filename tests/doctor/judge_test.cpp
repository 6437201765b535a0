// What the doctor makes of facts: one broken thing at a time.
#include "fake_host.hpp"
#include "kvm/uapi_newer.hpp"

#include <cerrno>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

namespace slat::tool {

void PrintTo(const Check& check, std::ostream* out) {
  *out << check.area << '/' << check.name << ": " << to_string(check.status) << ": "
       << check.finding;
}

namespace {

using testing::HasSubstr;

Report judged(const std::function<void(HostFacts&)>& change) {
  HostFacts facts = perfect_facts();
  change(facts);
  return judge(facts);
}

TEST(DoctorJudge, APerfectHostIsOkThroughout) {
  const Report report = judge(perfect_facts());
  for (const Check& check : report.checks) {
    EXPECT_EQ(check.status, Status::ok) << testing::PrintToString(check);
    EXPECT_EQ(check.mend, "") << testing::PrintToString(check);
  }
  EXPECT_EQ(report.verdict.status, Status::ok);
  EXPECT_TRUE(report.verdict.boots_own_guests);
  EXPECT_TRUE(report.verdict.serves_faults);
  EXPECT_TRUE(report.verdict.boots_linux);
  EXPECT_EQ(exit_code_of(report), 0);
}

struct Case {
  const char* what;
  std::string_view area, name;
  Status status;
  const char* finding; // a part of it
  const char* mend;    // a part of it
  int exit_code;
  std::function<void(HostFacts&)> change;
};

// CTest takes it for the test's name: bytes and addresses would change from run to run.
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.what;
}

std::vector<Case> cases() {
  using enum Status;
  const auto error = [](kvm::Errc code, int os_error, const char* text) {
    return kvm::Error{code, os_error, text};
  };
  const auto without = [](std::uint64_t bit) {
    return [bit](HostFacts& f) { f.uffd.offered &= ~bit; };
  };
  return {
      {"NoDevice", "kvm", "device", missing, "/dev/kvm", "modprobe kvm_intel", 69,
       [=](HostFacts& f) {
         f.kvm.open_error = error(kvm::Errc::no_device, ENOENT, "/dev/kvm: x");
       }},
      {"NoDeviceOnAmd", "kvm", "device", missing, "/dev/kvm", "modprobe kvm_amd", 69,
       [=](HostFacts& f) {
         f.kvm.open_error = error(kvm::Errc::no_device, ENOENT, "/dev/kvm: x");
         f.cpu.vmx = false;
         f.cpu.svm = true;
       }},
      {"NoDeviceNoVirtualisation", "kvm", "device", missing, "/dev/kvm", "neither VMX nor SVM", 69,
       [=](HostFacts& f) {
         f.kvm.open_error = error(kvm::Errc::no_device, ENOENT, "/dev/kvm: x");
         f.cpu.vmx = false;
       }},
      {"OtherDeviceMissing", "kvm", "device", missing, "/nowhere", "--kvm-device", 69,
       [=](HostFacts& f) {
         f.kvm.device = "/nowhere";
         f.kvm.open_error = error(kvm::Errc::no_device, ENOENT, "/nowhere: x; y");
       }},
      {"NoPermissionWithGroup", "kvm", "device", missing, "denied", "usermod -aG kvm", 77,
       [=](HostFacts& f) {
         f.kvm.open_error = error(kvm::Errc::no_permission, EACCES, "/dev/kvm: denied; y");
       }},
      {"NoPermissionWithoutGroup", "kvm", "device", missing, "denied", "setfacl -m", 77,
       [=](HostFacts& f) {
         f.kvm.access_group.clear();
         f.kvm.open_error = error(kvm::Errc::no_permission, EACCES, "/dev/kvm: denied; y");
       }},
      {"NotKvm", "kvm", "device", missing, "not a KVM device", "give the path", 69,
       [=](HostFacts& f) {
         f.kvm.open_error =
             error(kvm::Errc::not_supported, ENOTTY, "/dev/null: not a KVM device; give the path");
       }},
      {"NoVm", "kvm", "vm", missing, "busy", "end it first", 69,
       [=](HostFacts& f) {
         f.kvm.vm_error = error(kvm::Errc::call_failed, EBUSY, "busy; end it first");
       }},
      {"IntelShadow", "kvm", "paging", degraded, "shadow paging", "ept=1", 0,
       [](HostFacts& f) { f.kvm.flavour = kvm::Flavour::intel_shadow; }},
      {"AmdShadow", "kvm", "paging", degraded, "shadow paging", "npt=1", 0,
       [](HostFacts& f) { f.kvm.flavour = kvm::Flavour::amd_shadow; }},
      {"Pvm", "kvm", "paging", degraded, "a stock Linux kernel does not boot", "nested", 0,
       [](HostFacts& f) { f.kvm.flavour = kvm::Flavour::pvm; }},
      {"PvmDirtyRing", "kvm", "dirty_ring", degraded, "must not be used", "dirty log", 0,
       [](HostFacts& f) { f.kvm.flavour = kvm::Flavour::pvm; }},
      {"UnknownKvm", "kvm", "paging", degraded, "does not tell", "sysfs", 0,
       [](HostFacts& f) { f.kvm.flavour = kvm::Flavour::unknown; }},
      {"FewSlots", "kvm", "memslots", degraded, "8 memory slots", "Linux 6.1", 0,
       [](HostFacts& f) { f.kvm.memslots = 8; }},
      {"NoUserMemory", "kvm", "user_memory", missing, "no USER_MEMORY", "Linux", 69,
       [](HostFacts& f) { f.kvm.user_memory = false; }},
      {"NoSyncMmu", "kvm", "sync_mmu", missing, "no SYNC_MMU", "Linux", 69,
       [](HostFacts& f) { f.kvm.sync_mmu = false; }},
      {"NoImmediateExit", "kvm", "immediate_exit", missing, "no IMMEDIATE_EXIT", "Linux", 69,
       [](HostFacts& f) { f.kvm.immediate_exit = false; }},
      {"NoTssAddress", "kvm", "set_tss_address", missing, "no SET_TSS_ADDR", "Linux", 69,
       [](HostFacts& f) { f.kvm.set_tss_address = false; }},
      {"NoManualLog", "kvm", "dirty_log", degraded, "stalls", "5.0", 0,
       [](HostFacts& f) { f.kvm.manual_dirty_log = false; }},
      {"NoRing", "kvm", "dirty_ring", degraded, "no dirty ring", "5.11", 0,
       [](HostFacts& f) { f.kvm.dirty_ring = false; }},
      {"NoFaultInfo", "kvm", "memory_fault_info", degraded, "crash reports", "6.8", 0,
       [](HostFacts& f) { f.kvm.memory_fault_info = false; }},
      {"NoTsc", "kvm", "tsc", degraded, "no answer", "TSC", 0,
       [](HostFacts& f) { f.kvm.tsc_khz = 0; }},
      {"NoUserfaultfd", "userfaultfd", "open", missing, "ENOSYS", "CONFIG_USERFAULTFD", 69,
       [=](HostFacts& f) {
         f.uffd.open_error = error(kvm::Errc::not_supported, ENOSYS,
                                   "userfaultfd: ENOSYS; use a kernel with CONFIG_USERFAULTFD=y");
       }},
      {"ForbiddenUserfaultfd", "userfaultfd", "open", missing,
       "(vm.unprivileged_userfaultfd=0); faults of user mode alone", "CAP_SYS_PTRACE", 77,
       [=](HostFacts& f) {
         f.uffd.open_error =
             error(kvm::Errc::no_permission, EPERM, "userfaultfd: EPERM; give it CAP_SYS_PTRACE");
         f.uffd.user_mode_only = true;
       }},
      {"NoMinor", "userfaultfd", "shmem", missing, "no MINOR_SHMEM", "5.14", 69,
       without(UFFD_FEATURE_MINOR_SHMEM)},
      {"NoMissing", "userfaultfd", "shmem", missing, "no MISSING_SHMEM", "5.14", 69,
       without(UFFD_FEATURE_MISSING_SHMEM)},
      {"NoWp", "userfaultfd", "WP_HUGETLBFS_SHMEM", degraded, "KVM's log only", "5.19", 0,
       without(UFFD_FEATURE_WP_HUGETLBFS_SHMEM)},
      {"NoThreadId", "userfaultfd", "THREAD_ID", degraded, "one stream", "4.14", 0,
       without(UFFD_FEATURE_THREAD_ID)},
      {"NoPoison", "userfaultfd", "POISON", degraded, "cannot be filled", "6.6", 0,
       without(kvm::uapi::uffd_feature_poison)},
      {"NoMove", "userfaultfd", "MOVE", degraded, "copy", "6.8", 0,
       without(kvm::uapi::uffd_feature_move)},
      {"CannotRegister", "userfaultfd", "register", missing, "cannot be guarded: z", "5.14", 69,
       [=](HostFacts& f) { f.uffd.register_error = error(kvm::Errc::call_failed, EINVAL, "z"); }},
      {"LittleMemory", "memory", "available", degraded, "100 MiB of", "--memory", 0,
       [](HostFacts& f) { f.memory.available_bytes = 100 << 20; }},
      {"NoMeminfo", "memory", "available", degraded, "/proc/meminfo", "procfs", 0,
       [](HostFacts& f) { f.memory.available_bytes.reset(); }},
      {"SmallGroup", "memory", "cgroup", degraded, "64 MiB", "memory.max", 0,
       [](HostFacts& f) { f.memory.cgroup_limit_bytes = 64 << 20; }},
      {"StrictOvercommit", "memory", "overcommit", degraded, "1 MiB left", "overcommit_memory=0", 0,
       [](HostFacts& f) {
         f.memory.overcommit = 2;
         f.memory.commit_limit_bytes = 3 << 20;
         f.memory.committed_bytes = 2 << 20;
       }},
      {"NoMemfd", "memory", "memfd", missing, "EMFILE", "limit", 69,
       [](HostFacts& f) { f.memory.memfd = EMFILE; }},
      {"ForbiddenMemfd", "memory", "memfd", missing, "EACCES", "limit", 77,
       [](HostFacts& f) { f.memory.memfd = EACCES; }},
      {"NoPopulate", "memory", "populate", missing, "EINVAL", "5.14", 69,
       [](HostFacts& f) { f.memory.populate = EINVAL; }},
      {"NoPunch", "memory", "punch_hole", missing, "EOPNOTSUPP", "CONFIG_SHMEM", 69,
       [](HostFacts& f) { f.memory.punch = EOPNOTSUPP; }},
      {"FewFiles", "limits", "open_files", degraded, "32", "ulimit -n", 0,
       [](HostFacts& f) { f.limits.open_files = 32; }},
      {"SomeAddressSpace", "limits", "address_space", degraded, "guests of at most 1 GiB",
       "ulimit -v", 0, [](HostFacts& f) { f.limits.address_space_bytes = std::uint64_t(3) << 30; }},
      {"NoAddressSpace", "limits", "address_space", missing, "smallest guest", "ulimit -v", 69,
       [](HostFacts& f) { f.limits.address_space_bytes = 512 << 20; }},
      {"NoFileSize", "limits", "file_size", missing, "1 MiB", "ulimit -f", 69,
       [](HostFacts& f) { f.limits.file_size_bytes = 1 << 20; }},
      {"FewMaps", "limits", "max_map_count", degraded, "1000", "sysctl", 0,
       [](HostFacts& f) { f.limits.max_map_count = 1000; }},
      {"FewThreads", "limits", "threads", degraded, "20 in its", "pids.max", 0,
       [](HostFacts& f) { f.limits.cgroup_pids = 20; }},
      {"FewProcesses", "limits", "threads", degraded, "10 for this user", "ulimit -u", 0,
       [](HostFacts& f) { f.limits.processes = 10; }},
      {"OneCpu", "cpu", "count", degraded, "1 CPU", "more CPUs", 0,
       [](HostFacts& f) { f.cpu.usable = 1; }},
      {"NoMembarrier", "cpu", "membarrier", degraded, "plain fence", "CONFIG_MEMBARRIER", 0,
       [](HostFacts& f) { f.cpu.membarrier = false; }},
      {"UnsteadyTsc", "cpu", "tsc", degraded, "no invariant TSC", "TSC", 0,
       [](HostFacts& f) { f.cpu.invariant_tsc = false; }},
      {"OldKernel", "host", "kernel", degraded, "5.15", "6.1", 0,
       [](HostFacts& f) { f.kernel_release = "5.15.0"; }},
      {"NoSeccomp", "host", "seccomp", degraded, "missing", "CONFIG_SECCOMP_FILTER", 0,
       [](HostFacts& f) { f.seccomp.error = ENOSYS; }},
      {"SeccompRefused", "host", "seccomp", degraded, "--seccomp off", "container", 0,
       [](HostFacts& f) { f.seccomp.error = EPERM; }},
      {"SanitizedBuild", "host", "seccomp", degraded, "off in this build", "sanitizers", 0,
       [](HostFacts& f) { f.seccomp.in_this_build = false; }},
      {"NoRelease", "host", "kernel", degraded, "cannot be read", "procfs", 0,
       [](HostFacts& f) { f.kernel_release = ""; }},
  };
}

class DoctorJudgeCase : public testing::TestWithParam<Case> {};

TEST_P(DoctorJudgeCase, IsNamedWithItsMendAndExitCode) {
  const Case& c = GetParam();
  const Report report = judged(c.change);
  const Check* const check = find(report, c.area, c.name);
  ASSERT_NE(check, nullptr);
  EXPECT_EQ(check->status, c.status) << check->finding;
  EXPECT_THAT(check->finding, HasSubstr(c.finding));
  EXPECT_THAT(check->mend, HasSubstr(c.mend));
  EXPECT_EQ(exit_code_of(report), c.exit_code);
  EXPECT_EQ(report.verdict.status, c.status);
  EXPECT_EQ(report.verdict.boots_own_guests, c.status != Status::missing);
}

INSTANTIATE_TEST_SUITE_P(Broken, DoctorJudgeCase, testing::ValuesIn(cases()),
                         [](const auto& tested) { return std::string(tested.param.what); });

TEST(DoctorJudge, EveryCheckHasANameOfItsOwnAndAMendWhereItIsNotOk) {
  for (const Case& c : cases()) {
    const Report report = judged(c.change);
    std::set<std::pair<std::string_view, std::string_view>> names;
    for (const Check& check : report.checks) {
      EXPECT_TRUE(names.emplace(check.area, check.name).second) << check.name << " twice";
      EXPECT_EQ(check.status == Status::ok, check.mend.empty()) << c.what << ": " << check.name;
      EXPECT_FALSE(check.finding.empty()) << c.what << ": " << check.name;
      EXPECT_EQ(check.finding.find('\n'), std::string::npos);
    }
  }
}

TEST(DoctorJudge, SomethingLackingOutweighsPermission) {
  const Report report = judged([](HostFacts& f) {
    f.kvm.open_error = kvm::Error{kvm::Errc::no_permission, EACCES, "/dev/kvm: x"};
    f.uffd.offered = 0;
  });
  EXPECT_EQ(exit_code_of(report), 69);
}

TEST(DoctorJudge, WithoutKvmFaultsCanStillBeServed) {
  const Report report = judged([](HostFacts& f) {
    f.kvm.open_error = kvm::Error{kvm::Errc::no_device, ENOENT, "/dev/kvm: x"};
  });
  EXPECT_TRUE(report.verdict.serves_faults);
  EXPECT_TRUE(report.verdict.boots_in_software);
  EXPECT_FALSE(report.verdict.boots_own_guests);
  EXPECT_FALSE(report.verdict.boots_linux);
}

TEST(DoctorJudge, LinuxNeedsRingZeroToRunOnTheProcessor) {
  using enum kvm::Flavour;
  for (const auto& [flavour, boots] :
       {std::pair{intel_ept, true}, std::pair{intel_shadow, true}, std::pair{amd_npt, true},
        std::pair{amd_shadow, true}, std::pair{pvm, false}, std::pair{unknown, false}}) {
    const Report report = judged([&](HostFacts& f) { f.kvm.flavour = flavour; });
    EXPECT_EQ(report.verdict.boots_linux, boots) << kvm::to_string(flavour);
    EXPECT_EQ(report.verdict.why_not_linux.empty(), boots);
    EXPECT_TRUE(report.verdict.boots_own_guests);
  }
}

TEST(DoctorJudge, BytesForPeople) {
  EXPECT_EQ(human_bytes(0), "0 bytes");
  EXPECT_EQ(human_bytes(1023), "1023 bytes");
  EXPECT_EQ(human_bytes(1024), "1 KiB");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(512 << 20), "512 MiB");
  EXPECT_EQ(human_bytes((std::uint64_t(10) << 30) - 1), "10 GiB");
  EXPECT_EQ(human_bytes(UINT64_MAX), "16777216 TiB");
}

} // namespace
} // namespace slat::tool
