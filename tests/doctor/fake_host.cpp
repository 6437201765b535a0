#include "fake_host.hpp"

#include "kvm/uapi_newer.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>

namespace slat::tool {

FakeHost::FakeHost() {
  char name[] = "/tmp/slat-doctor-XXXXXX";
  if (::mkdtemp(name) != nullptr)
    root_ = name;
  else
    ADD_FAILURE() << "no temporary folder";
}

FakeHost::~FakeHost() {
  std::error_code ignored;
  if (!root_.empty()) std::filesystem::remove_all(root_, ignored);
}

void FakeHost::put(const std::string& file, std::string_view content) const {
  const std::filesystem::path path = root_ / file;
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  std::ofstream(path) << content;
  EXPECT_TRUE(std::filesystem::exists(path));
}

HostPaths FakeHost::paths() const {
  return {.proc = root_ / "proc",
          .sys = root_ / "sys",
          .kvm_device = root_ / "dev/kvm",
          .uffd_device = root_ / "dev/userfaultfd",
          .uffd_system_call = false};
}

HostFacts perfect_facts() {
  HostFacts facts;
  facts.kernel_release = "6.12.1";
  facts.kvm = {.device = "/dev/kvm",
               .open_error = {},
               .access_group = "kvm",
               .vm_error = {},
               .flavour = kvm::Flavour::intel_ept,
               .recommended_vcpus = 8,
               .max_vcpus = 1024,
               .memslots = 32764,
               .user_memory = true,
               .sync_mmu = true,
               .immediate_exit = true,
               .set_tss_address = true,
               .manual_dirty_log = true,
               .dirty_ring = true,
               .memory_fault_info = true,
               .guest_memfd = true,
               .tsc_khz = 2'000'000};
  facts.uffd.device = "/dev/userfaultfd";
  facts.uffd.offered = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
                       UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_THREAD_ID |
                       UFFD_FEATURE_EXACT_ADDRESS | kvm::uapi::uffd_feature_poison |
                       kvm::uapi::uffd_feature_move | kvm::uapi::uffd_feature_wp_unpopulated |
                       kvm::uapi::uffd_feature_wp_async;
  facts.uffd.unprivileged = 0;
  facts.memory.total_bytes = std::uint64_t(16) << 30;
  facts.memory.available_bytes = std::uint64_t(8) << 30;
  facts.memory.overcommit = 0;
  facts.memory.shmem_huge = "never";
  facts.memory.memfd = 0;
  facts.memory.populate = 0;
  facts.memory.punch = 0;
  facts.limits.open_files = 1024;
  facts.limits.max_map_count = 65530;
  facts.limits.threads_max = 100'000;
  facts.cpu = {.usable = 8,
               .vmx = true,
               .svm = false,
               .invariant_tsc = true,
               .membarrier = true,
               .rseq = true};
  return facts;
}

const Check* find(const Report& report, std::string_view area, std::string_view name) {
  for (const Check& check : report.checks)
    if (check.area == area && check.name == name) return &check;
  return nullptr;
}

} // namespace slat::tool
