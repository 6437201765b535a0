// The part of the doctor's examination that reads procfs and sysfs.
#include "slat/chosen_word.hpp"
#include "slat/doctor_facts.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string_view>

namespace slat::tool {

namespace {

using std::filesystem::path;

std::string read_file(const path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest == text.data()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> read_number(const path& file) {
  return number_in(read_file(file));
}

/// Calls `use` with each line, without its end.
template <class Use> void each_line(const std::string& text, Use use) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    use(line);
  }
}

/// "MemTotal:  123 kB" in bytes.
std::optional<std::uint64_t> meminfo_bytes(const std::string& meminfo, std::string_view name) {
  std::optional<std::uint64_t> bytes;
  each_line(meminfo, [&](std::string_view line) {
    if (!line.starts_with(name) || line.substr(name.size(), 1) != ":") return;
    const auto kib = number_in(line.substr(name.size() + 1));
    if (kib && *kib <= UINT64_MAX / 1024) bytes = *kib * 1024;
  });
  return bytes;
}

bool has_word(std::string_view line, std::string_view word) {
  for (std::size_t at = line.find(word); at != line.npos; at = line.find(word, at + 1)) {
    const bool starts = at == 0 || line[at - 1] == ' ' || line[at - 1] == '\t';
    const std::size_t end = at + word.size();
    if (starts && (end == line.size() || line[end] == ' ')) return true;
  }
  return false;
}

std::optional<HugePages> huge_pages(const path& sys, std::string_view size) {
  const path folder = sys / "kernel/mm/hugepages" / ("hugepages-" + std::string(size) + "kB");
  const auto total = read_number(folder / "nr_hugepages");
  const auto free = read_number(folder / "free_hugepages");
  if (!total || !free) return std::nullopt;
  return HugePages{*total, *free};
}

void take_smaller(std::optional<std::uint64_t>& least, std::optional<std::uint64_t> value) {
  constexpr std::uint64_t none = std::uint64_t(1) << 62; // what version 1 says for "no limit"
  if (value && *value < none && (!least || *value < *least)) least = value;
}

/// The tightest `file` of a group and its ancestors. Where a namespace hides the group, its ancestors still count.
void walk_up(const path& root, std::string_view group, const char* file,
             std::optional<std::uint64_t>& least) {
  path at = group.find("..") == group.npos ? path(group).relative_path() : path();
  for (;;) {
    take_smaller(least, read_number(root / at / file)); // "max" is no number
    if (at.empty()) return;
    at = at.parent_path();
  }
}

std::optional<std::uint64_t> cgroup_limit(const HostPaths& paths, std::string_view controller,
                                          const char* file_v1, const char* file_v2) {
  std::optional<std::uint64_t> least;
  const path root = paths.sys / "fs/cgroup";
  each_line(read_file(paths.proc / "self/cgroup"), [&](std::string_view line) {
    // "id:controllers:group", with id 0 and no controllers for version 2
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) return;
    std::string controllers(line.substr(first + 1, second - first - 1));
    const std::string_view group = line.substr(second + 1);
    if (controllers.empty()) {
      walk_up(root, group, file_v2, least);
      return;
    }
    std::replace(controllers.begin(), controllers.end(), ',', ' ');
    if (has_word(controllers, controller)) walk_up(root / controller, group, file_v1, least);
  });
  return least;
}

void read_cpu_flags(const std::string& cpuinfo, CpuFacts& cpu) {
  bool seen = false; // the first processor's are everyone's
  each_line(cpuinfo, [&](std::string_view line) {
    if (seen || !line.starts_with("flags")) return;
    seen = true;
    cpu.vmx = has_word(line, "vmx");
    cpu.svm = has_word(line, "svm");
    cpu.invariant_tsc = has_word(line, "constant_tsc") && has_word(line, "nonstop_tsc");
  });
}

} // namespace

HostFacts read_host_files(const HostPaths& paths) {
  HostFacts facts;
  facts.kernel_release = read_file(paths.proc / "sys/kernel/osrelease");
  facts.kernel_release.resize(
      std::min(facts.kernel_release.find('\n'), facts.kernel_release.size()));
  facts.kvm.flavour = kvm::detect_flavour(paths.sys / "module");
  facts.uffd.unprivileged = read_number(paths.proc / "sys/vm/unprivileged_userfaultfd");

  const std::string meminfo = read_file(paths.proc / "meminfo");
  MemoryFacts& memory = facts.memory;
  memory.total_bytes = meminfo_bytes(meminfo, "MemTotal");
  memory.available_bytes = meminfo_bytes(meminfo, "MemAvailable");
  memory.swap_total_bytes = meminfo_bytes(meminfo, "SwapTotal").value_or(0);
  memory.swap_free_bytes = meminfo_bytes(meminfo, "SwapFree").value_or(0);
  memory.commit_limit_bytes = meminfo_bytes(meminfo, "CommitLimit");
  memory.committed_bytes = meminfo_bytes(meminfo, "Committed_AS");
  memory.overcommit = read_number(paths.proc / "sys/vm/overcommit_memory");
  memory.huge_2m = huge_pages(paths.sys, "2048");
  memory.huge_1g = huge_pages(paths.sys, "1048576");
  memory.shmem_huge =
      chosen_word(read_file(paths.sys / "kernel/mm/transparent_hugepage/shmem_enabled"));
  memory.cgroup_limit_bytes = cgroup_limit(paths, "memory", "memory.limit_in_bytes", "memory.max");

  facts.limits.max_map_count = read_number(paths.proc / "sys/vm/max_map_count");
  facts.limits.threads_max = read_number(paths.proc / "sys/kernel/threads-max");
  facts.limits.cgroup_pids = cgroup_limit(paths, "pids", "pids.max", "pids.max");
  read_cpu_flags(read_file(paths.proc / "cpuinfo"), facts.cpu);
  return facts;
}

} // namespace slat::tool
