// What stands behind a benchmark's guest RAM. The names are those of KVM's self tests, as far as slat has the thing: each
// page of RAM is one of 4 KiB of a memfd that is mapped twice, so anonymous memory and hugetlbfs are none.
#pragma once

#include "vmm/machine.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slat::tool {

inline constexpr std::string_view shmem_backing = "shmem";         // a memfd
inline constexpr std::string_view shmem_thp_backing = "shmem_thp"; // with transparent huge pages

[[nodiscard]] std::vector<std::string> all_backings();

/// Why this host does not have it, in one line that says how to mend it; empty if it does.
[[nodiscard]] std::string lack_of_backing(std::string_view backing);

/// For a machine that has not been started. Pages that the host makes for it from now on are of that kind, and what is
/// there (the image, boot structures) stays as it is. Sleeps. Errors: host_failed.
vmm::Result<void> use_backing(vmm::Machine& machine, std::string_view backing);

/// KiB of the machine's RAM that are huge pages, mapped as such, now; 0 if the kernel does not tell.
[[nodiscard]] std::uint64_t huge_kib(vmm::Machine& machine);

} // namespace slat::tool
