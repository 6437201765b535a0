// --storm, for the commands that run a guest while the host takes its memory away.
#pragma once

#include "vmm/storm.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
} // namespace CLI

namespace slat::tool {

/// Adds it. Names are checked while the command line is parsed.
CLI::Option* add_storm_option(CLI::App& command, std::string& kinds);

/// For help and completion, the words of `slat ctl storm`; accepts all: the machine checks.
CLI::Validator storm_order_values();

/// Adds it with --storm-rate and --storm-pages.
void add_storm_options(CLI::App& command, std::string& kinds, vmm::StormOptions& options);

/// What a command has for storms.
struct StormMeans {
  bool soft = false;           // our own stage-2
  bool given_up_pages = false; // a guest that gives pages up
  bool kvm_writes =
      false; // into guest memory, for Linux (its clock, say), and cannot wait for the right to
};

/// The kinds of "zap,cold" or "all", which means all that there are means for. Errors: invalid_argument for one by name
/// that lacks them, or that there is not.
vmm::Result<std::vector<vmm::StormKind>> parse_storm(const std::string& kinds,
                                                     const StormMeans& means);

/// Whether "zap,cold" or "all" asks for the kind, given the means.
[[nodiscard]] bool asks_for(const std::string& kinds, vmm::StormKind kind);

/// For MachineConfig::memory_slot: if one of the kinds exchanges memory slots, there are several, for `memory` bytes of RAM.
std::uint64_t storm_slot_bytes(const std::string& kinds, std::uint64_t memory);

/// For MachineConfig::spare_memory: if one of the kinds gives pages another place, there are some.
std::uint64_t storm_spare_bytes(const std::string& kinds);

} // namespace slat::tool
