#include "slat/machine_options.hpp"

#include "slat/exit_codes.hpp"
#include "vmm/layout.hpp"
#include "vmm/printable.hpp"

#include <CLI/CLI.hpp>
#include <bit>
#include <cstdio>
#include <fmt/format.h>
#include <string_view>

namespace slat::tool {

void MachineOptions::add_to(CLI::App& command) {
  add_guest_to(command);
  add_vma_lock_to(command);
  add_seccomp_option(command, seccomp);
  command.add_option("--stats", stats, "Print statistics at the end; json is one line")
      ->check(CLI::IsMember({"text", "json"}));
}

void MachineOptions::add_vma_lock_to(CLI::App& command) {
  command.add_option("--vma-lock", vma_lock, "How faults and changes of the memory map keep apart")
      ->capture_default_str()
      ->check(CLI::IsMember({"mmap-lock", "spf", "vma-rwsem", "vma-refcount"}));
}

void MachineOptions::add_guest_to(CLI::App& command) {
  command.add_option("--memory", memory, "Guest RAM, like size=256M: 4M to 64G, a multiple of 4K")
      ->capture_default_str()
      ->type_name("size=SIZE");
  command.add_option("--cpus", cpus, "Virtual CPUs; the most depends on the host")
      ->capture_default_str()
      ->check(CLI::Range(1, 65535));
  command
      .add_option(
          "--accel", accel,
          "What runs the guest: kvm, soft (a software vCPU over slat's own stage-2 tables), or "
          "auto: kvm where this host has it")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "kvm", "soft"}));
  command
      .add_option("--fault-threads", fault_threads,
                  "kvm: threads that serve page faults; 0: one for two vCPUs")
      ->capture_default_str()
      ->check(CLI::Range(0, 256));
  command
      .add_option("--fault-around", fault_around,
                  "Pages brought in by one fault, a power of two from 1 to 512; more on sequential "
                  "access, unless 1")
      ->capture_default_str()
      ->check(CLI::Validator(
          [](std::string& text) {
            unsigned value = 0;
            const bool number = CLI::detail::lexical_cast(text, value);
            return number && value <= vmm::FaultAround::max_pages && std::has_single_bit(value)
                       ? std::string()
                       : fmt::format("'{}' is not a power of two from 1 to {}", text,
                                     vmm::FaultAround::max_pages);
          },
          "PAGES"));
  command.add_option("--kvm-device", kvm_device, "Path of the KVM device")
      ->type_name("PATH")
      ->capture_default_str();
}

void add_seccomp_option(CLI::App& command, std::string& mode) {
  command
      .add_option(
          "--seccomp", mode,
          vmm::seccomp_in_this_build
              ? "Confine each thread to the system calls that it needs; log: let the others "
                "pass, and have the kernel log them"
              : "No effect in this build: sanitizers make system calls of their own")
      ->capture_default_str()
      ->check(CLI::IsMember({"on", "off", "log"}));
}

vmm::SeccompMode seccomp_mode(const std::string& mode) {
  if (mode == "off") return vmm::SeccompMode::off;
  return mode == "log" ? vmm::SeccompMode::log : vmm::SeccompMode::on;
}

void MachineOptions::add_api_socket(CLI::App& command) {
  command
      .add_option("--api-socket", api_socket,
                  "Serve the control API at this Unix socket, for slat ctl; it is made with mode "
                  "0600, and gone at the end")
      ->type_name("PATH")
      ->check(CLI::Validator(
          [](std::string& path) { return path.empty() ? "the path is empty" : std::string(); },
          ""));
}

vmm::Result<std::uint64_t> MachineOptions::memory_bytes() const {
  std::string_view rest = memory;
  std::string_view size;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos)
      size = item; // a bare size
    else if (item.substr(0, equals) == "size")
      size = item.substr(equals + 1);
    else
      return vmm::fail(vmm::Errc::invalid_argument, 0,
                       fmt::format("--memory: unknown key '{}' (known: size)",
                                   vmm::printable(item.substr(0, equals))));
  }
  auto bytes = vmm::parse_ram_size(size);
  if (!bytes)
    return vmm::fail(bytes.error().code, bytes.error().os_error,
                     fmt::format("--memory {}: {}", vmm::printable(memory), bytes.error().message));
  return bytes;
}

vmm::Result<vmm::MachineConfig> MachineOptions::config() const {
  auto bytes = memory_bytes();
  if (!bytes) return vmm::forward(bytes);
  vmm::MachineConfig config;
  config.memory = *bytes;
  config.cpus = cpus;
  config.fault_threads = fault_threads;
  config.fault_around = fault_around;
  config.kvm_device = kvm_device;
  config.accel = accel == "kvm"    ? vmm::Accel::kvm
                 : accel == "soft" ? vmm::Accel::soft
                                   : vmm::Accel::automatic;
  config.seccomp = seccomp_mode(seccomp);
  config.vma_lock = mmu::vma_lock_design(vma_lock).value_or(config.vma_lock);
  return config;
}

StatsFormat MachineOptions::stats_format() const {
  if (stats.empty()) return StatsFormat::none;
  return stats == "json" ? StatsFormat::json : StatsFormat::text;
}

vmm::Result<std::unique_ptr<vmm::Machine>> make_machine(vmm::MachineConfig config) {
  auto machine = vmm::Machine::create(std::move(config));
  if (machine && !(*machine)->accelerator_note().empty())
    fmt::print(stderr, "slat: {}\n", (*machine)->accelerator_note());
  return machine;
}

int report(const vmm::Error& error) {
  fmt::print(stderr, "slat: {}\n", error.message);
  return exit_code_of(error.code);
}

} // namespace slat::tool
