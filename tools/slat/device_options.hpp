// The options for a Linux guest's virtio devices, with the words of Cloud Hypervisor.
#pragma once

#include "vmm/machine.hpp"

#include <string>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

namespace slat::tool {

struct DeviceOptions {
  std::vector<std::string> disks;
  std::string balloon;
  std::string console = "serial";
  bool rng = false;

  /// Adds them to a command.
  void add_to(CLI::App& command);
  /// `memory`: the guest's RAM in bytes; `print`: takes what a virtio console prints. Errors: invalid_argument.
  [[nodiscard]] vmm::Result<vmm::virtio::DevicesConfig>
  config(std::uint64_t memory, const vmm::virtio::VirtioConsole::Sink& print) const;
};

} // namespace slat::tool
