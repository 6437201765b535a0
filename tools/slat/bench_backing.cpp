#include "slat/bench_backing.hpp"

#include "slat/chosen_word.hpp"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <sys/mman.h>

namespace slat::tool {

namespace {

constexpr const char* of_all_sizes = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
constexpr const char* of_2m = // since Linux 6.12
    "/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/shmem_enabled";

/// The policy in the file; empty if it cannot be read.
std::string chosen(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return chosen_word(line);
}

} // namespace

std::vector<std::string> all_backings() {
  return {std::string(shmem_backing), std::string(shmem_thp_backing)};
}

std::string lack_of_backing(std::string_view backing) {
  if (backing != shmem_thp_backing) return {};
  const std::string own = chosen(of_2m);
  const bool inherits = own.empty() || own == "inherit";
  const char* const path = inherits ? of_all_sizes : of_2m;
  const std::string policy = inherits ? chosen(of_all_sizes) : own;
  if (policy.empty())
    return fmt::format("this kernel has no huge pages for shared memory ({} is not there)",
                       of_all_sizes);
  if (policy == "never" || policy == "deny")
    return fmt::format("{} is '{}'; as root, write 'advise' to it", path, policy);
  return {};
}

vmm::Result<void> use_backing(vmm::Machine& machine, std::string_view backing) {
  if (backing != shmem_thp_backing) return {};
  // The host view is where pages are made. Guest views take them page by page, as faults ask for them.
  for (const vmm::GuestRam::Region& region : machine.ram().regions())
    if (madvise(region.backing->host_view(0), region.backing->pages() << mmu::page_shift,
                MADV_HUGEPAGE) != 0)
      return vmm::fail(vmm::Errc::host_failed, errno,
                       fmt::format("madvise(MADV_HUGEPAGE) of guest RAM failed: {}; is the kernel "
                                   "built without CONFIG_TRANSPARENT_HUGEPAGE?",
                                   std::strerror(errno)));
  return {};
}

std::uint64_t huge_kib(vmm::Machine& machine) {
  std::ifstream smaps("/proc/self/smaps");
  std::uint64_t sum = 0;
  bool ours = false; // the mapping whose lines come now
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    std::uint64_t kib = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
      ours = std::ranges::any_of(machine.ram().regions(), [&](const vmm::GuestRam::Region& region) {
        const auto view = reinterpret_cast<std::uintptr_t>(region.backing->host_view(0));
        return start >= view && start - view < region.backing->pages() << mmu::page_shift;
      });
    else if (ours && std::sscanf(line.c_str(), "ShmemPmdMapped: %" SCNu64, &kib) == 1)
      sum += kib;
  }
  return sum;
}

} // namespace slat::tool
