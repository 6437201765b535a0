// --storm, for the commands that run a guest while the host takes its memory away.
#pragma once

#include "vmm/storm.hpp"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace slat::tool {

/// Adds it. Names are checked while the command line is parsed.
CLI::Option* add_storm_option(CLI::App& command, std::string& kinds);

/// The kinds of "zap,cold" or "all", which means all that there are with our own stage-2 (`soft`) or without it.
/// Errors: invalid_argument for one by name that takes our own stage-2 where it is not ours.
vmm::Result<std::vector<vmm::StormKind>> parse_storm(const std::string& kinds, bool soft);

/// For MachineConfig::memory_slot: if one of the kinds exchanges memory slots, there are several, for `memory` bytes of RAM.
std::uint64_t storm_slot_bytes(const std::string& kinds, std::uint64_t memory);

} // namespace slat::tool
