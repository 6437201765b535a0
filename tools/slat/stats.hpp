// The statistics of a run, with the names of mmu/counters.hpp, as text and as JSON.
#pragma once

#include "vmm/machine.hpp"

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace slat::tool {

enum class StatsFormat { none, text, json };

/// All of them, now: counters, latency percentiles, sizes; guest_instruction_count only after the end. Bytes and nanoseconds
/// as the names say. Any thread, but not beside the start of a storm.
[[nodiscard]] nlohmann::ordered_json collect_stats(vmm::Machine& machine);

/// "name value" lines, aligned.
[[nodiscard]] std::string stats_text(const nlohmann::ordered_json& stats);

/// What the format asks for, to standard output.
void print_stats(vmm::Machine& machine, StatsFormat format);

/// Guest memory that the host holds, in bytes. Any thread; a system call for each memory slot.
[[nodiscard]] std::uint64_t guest_resident_bytes(vmm::Machine& machine);

/// Opens what vmm_resident_bytes() reads, for threads that may open nothing later.
void prepare_stats();

/// Memory of this process that is not guest RAM: anonymous and file pages in core, in bytes (RssAnon + RssFile).
[[nodiscard]] std::uint64_t vmm_resident_bytes();

} // namespace slat::tool
