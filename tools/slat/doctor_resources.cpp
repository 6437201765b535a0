// What the doctor makes of memory, limits and CPUs.
#include "kvm/ioctl.hpp"
#include "slat/doctor_report.hpp"
#include "vmm/layout.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>

namespace slat::tool::doctor_detail {

namespace {

constexpr std::uint64_t gib = vmm::gib;
constexpr std::uint64_t small_memory = 512 * vmm::mib; // the default guest of `slat stress`
constexpr std::uint64_t few_files = 64;                // a machine takes some 12, and 2 a vCPU
constexpr std::uint64_t few_maps = 65530;              // the kernel's default
constexpr std::uint64_t few_threads = 64;              // a machine takes 2, and 1.5 a vCPU
constexpr std::uint64_t own_address_space = gib;       // of the VMM itself: stacks, arenas

Check available(const MemoryFacts& memory) {
  Check check{.area = "memory", .name = "available"};
  if (!memory.available_bytes || !memory.total_bytes) {
    check.status = Status::degraded;
    check.finding = "/proc/meminfo cannot be read: guests are started without knowing";
    check.mend = "mount procfs on /proc";
    return check;
  }
  check.finding =
      fmt::format("{} of {} available; swap: {}", human_bytes(*memory.available_bytes),
                  human_bytes(*memory.total_bytes),
                  memory.swap_total_bytes == 0
                      ? "none"
                      : fmt::format("{} of {} free", human_bytes(memory.swap_free_bytes),
                                    human_bytes(memory.swap_total_bytes)));
  if (*memory.available_bytes >= small_memory) return check;
  check.status = Status::degraded;
  check.mend = fmt::format("free memory, or give guests less than {} (--memory)",
                           human_bytes(*memory.available_bytes));
  return check;
}

Check cgroup(const MemoryFacts& memory) {
  Check check{.area = "memory", .name = "cgroup", .finding = "no control group limit on memory"};
  if (!memory.cgroup_limit_bytes) return check;
  check.finding = fmt::format("control group limit: {}", human_bytes(*memory.cgroup_limit_bytes));
  if (*memory.cgroup_limit_bytes >= small_memory) return check;
  check.status = Status::degraded;
  check.finding += ", a larger guest would be killed";
  check.mend = "raise memory.max of the group, or give guests less (--memory)";
  return check;
}

Check overcommit(const MemoryFacts& memory) {
  Check check{.area = "memory", .name = "overcommit"};
  if (!memory.overcommit) {
    check.finding = "overcommit mode unknown";
    return check;
  }
  if (*memory.overcommit != 2) {
    check.finding = fmt::format("overcommit mode {} ({})", *memory.overcommit,
                                *memory.overcommit == 1 ? "always" : "heuristic");
    return check;
  }
  check.status = Status::degraded;
  const std::uint64_t limit = memory.commit_limit_bytes.value_or(0);
  const std::uint64_t used = std::min(limit, memory.committed_bytes.value_or(0));
  check.finding = fmt::format("overcommit mode 2 (never): {} left to commit; guest RAM counts when "
                              "it is used",
                              human_bytes(limit - used));
  check.mend = "sysctl vm.overcommit_memory=0, or keep guests smaller than that";
  return check;
}

std::string huge_text(const char* size, const std::optional<HugePages>& pages) {
  return pages ? fmt::format("{}: {} free of {}", size, pages->free, pages->total)
               : fmt::format("{}: not offered", size);
}

Check call(std::string_view name, std::optional<int> error, std::string_view works,
           std::string_view fails, std::string_view mend) {
  Check check{.area = "memory", .name = name, .finding = std::string(works)};
  if (error == 0) return check;
  check.status = Status::missing;
  check.finding = fmt::format("{}: {}", fails, kvm::os_error_text(*error));
  check.mend = mend;
  check.permission = *error == EPERM || *error == EACCES;
  return check;
}

/// A limit in bytes that a guest of `of_guest` bytes must stay below.
Check byte_limit(std::string_view name, std::string_view title,
                 const std::optional<std::uint64_t>& limit, std::uint64_t largest_guest,
                 std::string_view mend) {
  Check check{.area = "limits", .name = name, .finding = fmt::format("{}: unlimited", title)};
  if (!limit) return check;
  check.finding = fmt::format("{}: {}", title, human_bytes(*limit));
  check.mend = mend;
  if (largest_guest < vmm::min_ram_size) {
    check.status = Status::missing;
    check.finding += ", not enough for the smallest guest";
  } else {
    check.status = Status::degraded;
    check.finding += fmt::format(", guests of at most {}", human_bytes(largest_guest));
  }
  return check;
}

Check least(std::string_view name, std::string finding, bool enough, std::string_view mend) {
  Check check{.area = "limits", .name = name, .finding = std::move(finding)};
  if (enough) return check;
  check.status = Status::degraded;
  check.mend = mend;
  return check;
}

std::string count(const std::optional<std::uint64_t>& value) {
  return value ? std::to_string(*value) : "unlimited";
}

} // namespace

void judge_memory(const MemoryFacts& memory, std::vector<Check>& checks) {
  checks.push_back(available(memory));
  checks.push_back(cgroup(memory));
  checks.push_back(overcommit(memory));
  checks.push_back({.area = "memory",
                    .name = "huge_pages",
                    .finding = fmt::format("huge pages: {}; {}", huge_text("2 MiB", memory.huge_2m),
                                           huge_text("1 GiB", memory.huge_1g))});
  checks.push_back(
      {.area = "memory",
       .name = "shmem_enabled",
       .finding = fmt::format("transparent huge pages of a memfd: {}",
                              memory.shmem_huge.empty() ? "not offered" : memory.shmem_huge)});
  if (memory.memfd)
    checks.push_back(call("memfd", memory.memfd, "a memfd can be made, sealed and mapped",
                          "no memfd for guest memory",
                          "raise the limit it names, or use a kernel with CONFIG_MEMFD_CREATE=y"));
  if (memory.populate)
    checks.push_back(call("populate", memory.populate, "MADV_POPULATE_WRITE allocates pages",
                          "MADV_POPULATE_WRITE fails", "use Linux 5.14 or later"));
  if (memory.punch)
    checks.push_back(
        call("punch_hole", memory.punch, "fallocate gives pages of a memfd back to the host",
             "pages of a memfd cannot be given back", "use a kernel with CONFIG_SHMEM=y"));
}

void judge_limits(const LimitFacts& limits, std::vector<Check>& checks) {
  checks.push_back(least("open_files", fmt::format("open files: {}", count(limits.open_files)),
                         limits.open_files.value_or(few_files) >= few_files, "ulimit -n 1024"));
  // Guest RAM is mapped twice: guest view and host view.
  const std::uint64_t space = limits.address_space_bytes.value_or(0);
  checks.push_back(byte_limit("address_space", "address space", limits.address_space_bytes,
                              space > own_address_space ? (space - own_address_space) / 2 : 0,
                              "ulimit -v unlimited"));
  // A memfd is a file.
  checks.push_back(byte_limit("file_size", "file size", limits.file_size_bytes,
                              limits.file_size_bytes.value_or(0), "ulimit -f unlimited"));
  checks.push_back({.area = "limits",
                    .name = "locked",
                    .finding = limits.locked_bytes
                                   ? fmt::format("locked memory: {} (slat locks none)",
                                                 human_bytes(*limits.locked_bytes))
                                   : "locked memory: unlimited"});
  checks.push_back(
      least("max_map_count",
            fmt::format("vm.max_map_count: {}",
                        limits.max_map_count ? count(limits.max_map_count) : "unknown"),
            limits.max_map_count.value_or(few_maps) >= few_maps,
            fmt::format("sysctl vm.max_map_count={}", few_maps)));
  std::optional<std::uint64_t> threads = limits.threads_max;
  for (const auto& other : {limits.cgroup_pids, limits.processes})
    if (other && (!threads || *other < *threads)) threads = other;
  checks.push_back(least(
      "threads",
      fmt::format("threads: {} in all, {} for this user, {} in its control group",
                  count(limits.threads_max), count(limits.processes), count(limits.cgroup_pids)),
      threads.value_or(few_threads) >= few_threads,
      "ulimit -u 4096, or raise pids.max of the control group"));
}

void judge_cpu(const CpuFacts& cpu, std::vector<Check>& checks) {
  Check usable{.area = "cpu", .name = "count", .finding = fmt::format("{} CPUs", cpu.usable)};
  if (cpu.usable < 2) {
    usable.status = Status::degraded;
    usable.finding = "1 CPU: vCPUs and fault threads take turns";
    usable.mend = "give this machine or process more CPUs";
  }
  checks.push_back(std::move(usable));
  Check barrier{.area = "cpu",
                .name = "membarrier",
                .finding = "membarrier private expedited: readers pay no fence"};
  if (!cpu.membarrier) {
    barrier.status = Status::degraded;
    barrier.finding = "no membarrier private expedited: readers pay a plain fence";
    barrier.mend = "use a kernel with CONFIG_MEMBARRIER=y, and let seccomp filters pass it";
  }
  checks.push_back(std::move(barrier));
  checks.push_back({.area = "cpu",
                    .name = "rseq",
                    .finding = cpu.rseq
                                   ? "rseq registered by the C library"
                                   : "no rseq registered by the C library (slat runs without)"});
  Check tsc{.area = "cpu", .name = "tsc", .finding = "invariant TSC: times are cheap and steady"};
  if (!cpu.invariant_tsc) {
    tsc.status = Status::degraded;
    tsc.finding = "no invariant TSC: latencies are coarser, and the guests' times may drift";
    tsc.mend = "in a virtual machine: show the TSC as invariant; else none";
  }
  checks.push_back(std::move(tsc));
}

} // namespace slat::tool::doctor_detail
