// The options that every command which runs a guest has in common.
#pragma once

#include "slat/stats.hpp"
#include "vmm/machine.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace CLI {
class App;
} // namespace CLI

namespace slat::tool {

struct MachineOptions {
  std::string memory = "size=256M";
  unsigned cpus = 1;
  std::string accel = "auto";
  unsigned fault_threads = 0;
  std::uint32_t fault_around = 16;
  std::string kvm_device = "/dev/kvm";
  std::string vma_lock = "vma-refcount";
  std::string seccomp = "on";
  std::string stats;
  std::string api_socket; // empty: none

  /// Adds them to a command, but for --api-socket.
  void add_to(CLI::App& command);
  /// Of those: what a guest is made of.
  void add_guest_to(CLI::App& command);
  void add_vma_lock_to(CLI::App& command);
  /// Adds --api-socket: for commands whose guest may run for long.
  void add_api_socket(CLI::App& command);

  /// What storms the machine has to be made for, given --storm: with --api-socket there may be any.
  [[nodiscard]] std::string possible_storms(const std::string& storm) const {
    return api_socket.empty() ? storm : "all";
  }

  /// Bytes, from "size=256M" or "256M". Errors: invalid_argument.
  [[nodiscard]] vmm::Result<std::uint64_t> memory_bytes() const;
  /// All but the kernel and its command line.
  [[nodiscard]] vmm::Result<vmm::MachineConfig> config() const;
  [[nodiscard]] StatsFormat stats_format() const;

  [[nodiscard]] mmu::VmaLockDesign design() const {
    return mmu::vma_lock_design(vma_lock).value_or(mmu::VmaLockDesign::vma_refcount);
  }
};

/// The option --seccomp, for commands without the others too.
void add_seccomp_option(CLI::App& command, std::string& mode);

/// "on", "off" or "log".
[[nodiscard]] vmm::SeccompMode seccomp_mode(const std::string& mode);

/// Machine::create(), which says so if it takes another accelerator than hoped for.
vmm::Result<std::unique_ptr<vmm::Machine>> make_machine(vmm::MachineConfig config);

/// Prints "slat: message" to standard error; returns the exit code for the error.
int report(const vmm::Error& error);

} // namespace slat::tool
