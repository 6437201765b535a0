#include "slat/stats.hpp"

#include "kvm/fd.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace slat::tool {

namespace {

nlohmann::ordered_json summary(const mmu::Histogram& latency) {
  return {{"count", latency.count()},          {"p50", latency.percentile(0.5)},
          {"p90", latency.percentile(0.9)},    {"p99", latency.percentile(0.99)},
          {"p999", latency.percentile(0.999)}, {"max", latency.percentile(1.0)}};
}

/// Read anew by each pread(). Open for as long as the process lives.
int status_fd() {
  static const kvm::Fd fd(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  return fd.get();
}

} // namespace

void print_stats(vmm::Machine& machine, StatsFormat format) {
  if (format == StatsFormat::none) return;
  const nlohmann::ordered_json stats = collect_stats(machine);
  fmt::print("{}", format == StatsFormat::json ? stats.dump() + "\n" : stats_text(stats));
}

void prepare_stats() {
  (void)status_fd();
}

std::uint64_t vmm_resident_bytes() {
  std::array<char, 4096> buffer{}; // it has some 1500 bytes
  const ssize_t length = pread(status_fd(), buffer.data(), buffer.size(), 0);
  const std::string_view text(buffer.data(), length > 0 ? std::size_t(length) : 0);
  std::uint64_t kib = 0;
  for (const std::string_view field : {"\nRssAnon:", "\nRssFile:"}) {
    std::size_t at = text.find(field);
    if (at == std::string_view::npos) continue;
    at = std::min(text.find_first_not_of(" \t", at + field.size()), text.size());
    std::uint64_t value = 0;
    std::from_chars(text.data() + at, text.data() + text.size(), value);
    kib += value;
  }
  return kib * 1024;
}

std::uint64_t guest_resident_bytes(vmm::Machine& machine) {
  std::uint64_t resident = 0;
  for (const vmm::GuestRam::Region& region : machine.ram().regions()) {
    struct stat info{};
    if (fstat(region.backing->fd(), &info) == 0) resident += std::uint64_t(info.st_blocks) * 512;
  }
  return resident;
}

nlohmann::ordered_json collect_stats(vmm::Machine& machine) {
  nlohmann::ordered_json stats;
  stats["accelerator"] = std::string(machine.accelerator().name());
  if (machine.wait_for(std::chrono::milliseconds(0))) // a vCPU that runs counts for itself
    stats["guest_instruction_count"] = machine.instructions();
  for (unsigned i = 0; i < mmu::counter_kinds; ++i) {
    const auto counter = mmu::Counter(i);
    stats[std::string(mmu::name(counter))] = machine.counters().sum(counter);
  }
  stats["stage2_fault_count"] = machine.accelerator().fault_count();
  stats["fault_latency_ns"] = summary(machine.accelerator().fault_latency_ns());
  stats["invalidate_latency_ns"] = summary(machine.ram().mm().notifiers().invalidate_latency_ns());
  stats["guest_memory_bytes"] = machine.ram().size();
  stats["resident_bytes"] = guest_resident_bytes(machine);
  stats["vmm_resident_bytes"] = vmm_resident_bytes();
  if (const vmm::CompressedStore* const store = machine.ram().store()) {
    const vmm::CompressedStore::Stats kept = store->stats();
    stats["reclaim_store"] = {{"pages", kept.pages},
                              {"bytes", kept.bytes},
                              {"limit_bytes", kept.limit},
                              {"same_filled_pages", kept.same_filled},
                              {"uncompressed_pages", kept.uncompressed},
                              {"put_pages", kept.put_pages},
                              {"put_bytes", kept.put_bytes},
                              {"full_count", kept.full_count},
                              {"damaged_pages", kept.damaged_pages}};
  }
  if (vmm::BalloonControl* const balloon = machine.balloon()) {
    const vmm::BalloonControl::State state = balloon->state();
    stats["balloon"] = {{"target_bytes", state.target_bytes},
                        {"actual_bytes", state.actual_bytes},
                        {"inflated_bytes", state.inflated_bytes},
                        {"reported_bytes", state.reported_bytes}};
  }
  return stats;
}

std::string stats_text(const nlohmann::ordered_json& stats) {
  std::string text;
  for (const auto& [name, value] : stats.items()) {
    if (value.is_object()) {
      for (const auto& [part, inner] : value.items())
        text += fmt::format("  {:<28} {:>16}\n", name + "." + part, inner.dump());
    } else {
      text += fmt::format("  {:<28} {:>16}\n", name, value.dump());
    }
  }
  return text;
}

} // namespace slat::tool
