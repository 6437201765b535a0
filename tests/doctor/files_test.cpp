// What the doctor reads from procfs and sysfs.
#include "fake_host.hpp"

#include <gtest/gtest.h>

namespace slat::tool {
namespace {

constexpr std::uint64_t mib = 1 << 20;

TEST(DoctorFiles, AnEmptyRootGivesNoFactsAndNoFailure) {
  const FakeHost host;
  const HostFacts facts = read_host_files(host.paths());
  EXPECT_EQ(facts.kernel_release, "");
  EXPECT_FALSE(facts.memory.available_bytes);
  EXPECT_FALSE(facts.memory.overcommit);
  EXPECT_FALSE(facts.memory.huge_2m);
  EXPECT_EQ(facts.memory.shmem_huge, "");
  EXPECT_FALSE(facts.memory.cgroup_limit_bytes);
  EXPECT_FALSE(facts.limits.max_map_count);
  EXPECT_FALSE(facts.cpu.vmx);
}

TEST(DoctorFiles, MeminfoIsReadByWholeNamesAndInBytes) {
  const FakeHost host;
  host.put("proc/meminfo", "MemTotal:       1024 kB\nMemAvailable:    512 kB\n"
                           "SwapTotalX:  7 kB\nSwapTotal:   2048 kB\nSwapFree: 1 kB\n"
                           "CommitLimit:  4 kB\nCommitted_AS:  3 kB\n");
  const MemoryFacts memory = read_host_files(host.paths()).memory;
  EXPECT_EQ(memory.total_bytes, mib);
  EXPECT_EQ(memory.available_bytes, mib / 2);
  EXPECT_EQ(memory.swap_total_bytes, 2 * mib);
  EXPECT_EQ(memory.swap_free_bytes, 1024u);
  EXPECT_EQ(memory.commit_limit_bytes, 4096u);
  EXPECT_EQ(memory.committed_bytes, 3072u);
}

TEST(DoctorFiles, NonsenseIsNoNumber) {
  const FakeHost host;
  host.put("proc/meminfo", "MemTotal: many kB\nMemAvailable: 18446744073709551615 kB\nMemFree");
  host.put("proc/sys/vm/overcommit_memory", "\n");
  host.put("proc/sys/vm/max_map_count", "99999999999999999999999");
  const HostFacts facts = read_host_files(host.paths());
  EXPECT_FALSE(facts.memory.total_bytes);
  EXPECT_FALSE(facts.memory.available_bytes) << "it does not fit in bytes";
  EXPECT_FALSE(facts.memory.overcommit);
  EXPECT_FALSE(facts.limits.max_map_count);
}

TEST(DoctorFiles, SysctlsAndTheKernelRelease) {
  const FakeHost host;
  host.put("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
  host.put("proc/sys/vm/unprivileged_userfaultfd", "1\n");
  host.put("proc/sys/vm/overcommit_memory", "2\n");
  host.put("proc/sys/vm/max_map_count", "65530\n");
  host.put("proc/sys/kernel/threads-max", "1234\n");
  const HostFacts facts = read_host_files(host.paths());
  EXPECT_EQ(facts.kernel_release, "6.1.0-18-amd64");
  EXPECT_EQ(facts.uffd.unprivileged, 1u);
  EXPECT_EQ(facts.memory.overcommit, 2u);
  EXPECT_EQ(facts.limits.max_map_count, 65530u);
  EXPECT_EQ(facts.limits.threads_max, 1234u);
}

TEST(DoctorFiles, HugePagesOfBothSizesAndTheChosenWord) {
  const FakeHost host;
  host.put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "10\n");
  host.put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "7\n");
  host.put("sys/kernel/mm/transparent_hugepage/shmem_enabled",
           "always within_size [advise] never deny force\n");
  const MemoryFacts memory = read_host_files(host.paths()).memory;
  ASSERT_TRUE(memory.huge_2m);
  EXPECT_EQ(memory.huge_2m->total, 10u);
  EXPECT_EQ(memory.huge_2m->free, 7u);
  EXPECT_FALSE(memory.huge_1g);
  EXPECT_EQ(memory.shmem_huge, "advise");
}

TEST(DoctorFiles, TheTightestGroupOfVersionTwoCounts) {
  const FakeHost host;
  host.put("proc/self/cgroup", "0::/a/b\n");
  host.put("sys/fs/cgroup/a/b/memory.max", "max\n");
  host.put("sys/fs/cgroup/a/memory.max", "1048576\n");
  host.put("sys/fs/cgroup/a/b/pids.max", "100\n");
  host.put("sys/fs/cgroup/a/pids.max", "200\n");
  const HostFacts facts = read_host_files(host.paths());
  EXPECT_EQ(facts.memory.cgroup_limit_bytes, mib);
  EXPECT_EQ(facts.limits.cgroup_pids, 100u);
}

TEST(DoctorFiles, VersionOneFindsItsControllerAndItsNoLimit) {
  const FakeHost host;
  host.put("proc/self/cgroup", "8:pids:/x\n4:cpu,memory:/y\n");
  host.put("sys/fs/cgroup/memory/y/memory.limit_in_bytes", "2097152\n");
  host.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  host.put("sys/fs/cgroup/pids/x/pids.max", "max\n");
  const HostFacts facts = read_host_files(host.paths());
  EXPECT_EQ(facts.memory.cgroup_limit_bytes, 2 * mib);
  EXPECT_FALSE(facts.limits.cgroup_pids);
}

TEST(DoctorFiles, AGroupOutsideTheNamespaceStaysInsideTheRoot) {
  const FakeHost host;
  host.put("proc/self/cgroup", "0::/../../elsewhere\n");
  host.put("elsewhere/memory.max", "1\n");
  host.put("sys/fs/cgroup/memory.max", "4194304\n");
  EXPECT_EQ(read_host_files(host.paths()).memory.cgroup_limit_bytes, 4 * mib);
}

TEST(DoctorFiles, CpuFlagsAreWholeWords) {
  const FakeHost host;
  host.put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx_not svm constant_tsc nonstop_tsc\n"
                           "vmx flags\t: vnmi\n\nprocessor\t: 1\nflags\t\t: vmx\n");
  const CpuFacts cpu = read_host_files(host.paths()).cpu;
  EXPECT_FALSE(cpu.vmx);
  EXPECT_TRUE(cpu.svm);
  EXPECT_TRUE(cpu.invariant_tsc);
}

TEST(DoctorFiles, TheFlavourComesFromTheSameRoot) {
  const FakeHost host;
  host.put("sys/module/kvm_amd/parameters/npt", "Y\n");
  EXPECT_EQ(read_host_files(host.paths()).kvm.flavour, kvm::Flavour::amd_npt);
}

} // namespace
} // namespace slat::tool
