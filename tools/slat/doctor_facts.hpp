// What `slat doctor` finds out about a host, before anything is made of it. Empty means "not to be had".
#pragma once

#include "kvm/error.hpp"
#include "kvm/flavour.hpp"
#include "kvm/userfaultfd.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace slat::tool {

/// Where to look. Tests give other roots and devices.
struct HostPaths {
  std::filesystem::path proc = "/proc";
  std::filesystem::path sys = "/sys";
  std::string kvm_device = "/dev/kvm";
  std::string uffd_device = "/dev/userfaultfd";
  bool uffd_system_call = true; // also try userfaultfd(2)
};

struct KvmFacts {
  std::string device;
  std::optional<kvm::Error> open_error;
  std::string access_group;           // whose members may open the device; empty: no such group
  std::optional<kvm::Error> vm_error; // the device opens, and no VM can be made
  kvm::Flavour flavour = kvm::Flavour::unknown;
  unsigned recommended_vcpus = 0;
  unsigned max_vcpus = 0;
  unsigned memslots = 0;
  bool user_memory = false;
  bool sync_mmu = false;
  bool immediate_exit = false;
  bool set_tss_address = false;
  bool manual_dirty_log = false;
  bool dirty_ring = false;
  bool memory_fault_info = false;
  bool guest_memfd = false;
  std::optional<std::uint32_t> tsc_khz; // of a guest
};

struct UffdFacts {
  std::string device;
  std::optional<kvm::Error> open_error;
  bool user_mode_only = false; // open failed, and would not with UFFD_USER_MODE_ONLY
  kvm::Userfaultfd::Source source = kvm::Userfaultfd::Source::device;
  std::uint64_t offered = 0;                 // UFFD_FEATURE_*
  std::optional<kvm::Error> register_error;  // a page of a memfd could not be guarded
  std::optional<std::uint64_t> unprivileged; // sysctl vm.unprivileged_userfaultfd
};

struct HugePages {
  std::uint64_t total = 0;
  std::uint64_t free = 0;
};

struct MemoryFacts {
  std::optional<std::uint64_t> total_bytes;
  std::optional<std::uint64_t> available_bytes;
  std::uint64_t swap_total_bytes = 0;
  std::uint64_t swap_free_bytes = 0;
  std::optional<std::uint64_t> commit_limit_bytes;
  std::optional<std::uint64_t> committed_bytes;
  std::optional<std::uint64_t> overcommit; // 0 heuristic, 1 always, 2 never
  std::optional<HugePages> huge_2m;
  std::optional<HugePages> huge_1g;
  std::string shmem_huge;                          // the chosen word of shmem_enabled
  std::optional<std::uint64_t> cgroup_limit_bytes; // the tightest one up to the root
  // errno of the first step that failed, or 0; empty where an earlier one had failed.
  std::optional<int> memfd;
  std::optional<int> populate;
  std::optional<int> punch;
};

/// Soft limits; empty is unlimited.
struct LimitFacts {
  std::optional<std::uint64_t> open_files;
  std::optional<std::uint64_t> address_space_bytes;
  std::optional<std::uint64_t> file_size_bytes;
  std::optional<std::uint64_t> locked_bytes;
  std::optional<std::uint64_t> processes;
  std::optional<std::uint64_t> max_map_count;
  std::optional<std::uint64_t> threads_max;
  std::optional<std::uint64_t> cgroup_pids;
};

struct CpuFacts {
  unsigned usable = 0; // by affinity
  bool vmx = false;
  bool svm = false;
  bool invariant_tsc = false;
  bool membarrier = false; // private expedited
  bool rseq = false;       // registered by the C library
};

struct SeccompFacts {
  bool in_this_build = true;
  int error = 0; // errno of asking the kernel for filters
};

struct HostFacts {
  std::string kernel_release;
  KvmFacts kvm;
  UffdFacts uffd;
  MemoryFacts memory;
  LimitFacts limits;
  CpuFacts cpu;
  SeccompFacts seccomp;
};

/// Everything. Reads files, opens the devices, makes an empty VM and a memfd of one page, and drops all of it again;
/// changes nothing on the host and triggers no page fault that somebody would have to serve. May sleep for some
/// milliseconds. Never fails: what cannot be found out stays empty.
[[nodiscard]] HostFacts collect_host_facts(const HostPaths& paths = {});

/// The parts of it that come from files under `paths` alone: memory (but memfd, populate, punch), CPU flags, sysctls,
/// control groups, kernel release. Used by collect_host_facts().
[[nodiscard]] HostFacts read_host_files(const HostPaths& paths);

} // namespace slat::tool
