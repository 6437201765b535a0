// Machine: one virtual machine from its parts, and their order.
//
// Built:     counters > accelerator > guest RAM > what stands behind it (KVM: fault service, memory slots; soft: our own
//            stage-2) > kernel image, devices, boot structures > vCPUs
// Torn down: the reverse. vCPU threads end first, while faults are still resolved, then the devices'; then whoever
//            resolves them; then the RAM; then the accelerator.
#pragma once

#include "kvm/fd.hpp"
#include "vmm/accelerator.hpp"
#include "vmm/balloon_control.hpp"
#include "vmm/boot_tables.hpp"
#include "vmm/debug_exit.hpp"
#include "vmm/elf_loader.hpp"
#include "vmm/guest_ram.hpp"
#include "vmm/linux_image.hpp"
#include "vmm/port_bus.hpp"
#include "vmm/power_control.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/serial.hpp"
#include "vmm/vcpu_thread.hpp"
#include "vmm/virtio/devices.hpp"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace slat::vmm {

struct BuiltinImage {
  std::span<const std::byte> bytes;
  std::string_view name; // for messages
};

struct MachineConfig {
  std::variant<std::filesystem::path, BuiltinImage> kernel = {};
  std::string command_line = {};
  std::filesystem::path initrd = {}; // an initial RAM disk for Linux; empty: none
  std::uint64_t memory = 256 << 20;  // bytes
  std::uint64_t memory_slot = 0; // bytes of a memory slot at most, a multiple of 2 MiB; 0: no limit
  std::uint64_t spare_memory = 0; // bytes more in each slot's memfd, page aligned: for migrate()
  unsigned cpus = 1;
  unsigned fault_threads = 0;      // 0: one for two vCPUs, at least one
  std::uint32_t fault_around = 16; // pages; a power of two from 1 to FaultAround::max_pages
  Serial::Sink serial = [](std::span<const char>) {};
  virtio::DevicesConfig devices = {}; // for Linux
  /// Takes a line for the user, of any thread, while the guest runs.
  std::function<void(const std::string& line)> notice = [](const std::string&) {};
  Accel accel = Accel::automatic;
  std::string kvm_device = "/dev/kvm";
  mmu::VmaLockDesign vma_lock = mmu::VmaLockDesign::vma_refcount;
  SeccompMode seccomp =
      SeccompMode::on; // of the threads that the machine starts; who creates it enters by itself
};

/// How a run ended.
struct MachineEnd {
  enum class Reason {
    exited,  // by the debug exit port, with exit_code
    halted,  // every vCPU executed hlt and nothing can wake one
    stopped, // on request
    crashed, // see report
    reset,   // the guest asked for one; machines are not started again
  };
  Reason reason = Reason::stopped;
  unsigned exit_code = 0;
  std::string report = {}; // crashed: several lines
};

class Machine {
 public:
  /// Everything up to the point where vCPUs could run. May sleep. Errors carry one line for the user.
  static Result<std::unique_ptr<Machine>> create(MachineConfig config);
  /// Stops and tears down.
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Once. Errors: host_limit.
  Result<void> start();
  /// Ends the run; any thread, any number of times; does not wait.
  void request_stop();
  /// Sleeps until the run has ended or `timeout` has passed. After the end all vCPU threads have left the guest.
  [[nodiscard]] std::optional<MachineEnd> wait_for(std::chrono::milliseconds timeout);

  enum class SlotChange {
    replace, // deleted, and added as it was
    move,    // the same, and the guest view goes to another address in between
  };

  /// Keeps all vCPUs out of the guest until resume(), and returns when they are out; nothing changes if it is paused. Any
  /// thread but a vCPU's, which has no range in progress and no pin; any time after create(), before the start and after
  /// the end too. Slots change and pages migrate as ever, request_stop() ends the machine, and an end that had begun takes
  /// its course. Devices, storms and the guest's clocks go on. Sleeps as long as a vCPU waits for a fault.
  void pause();
  /// Nothing changes if it is not paused. Any thread; does not sleep.
  void resume();

  [[nodiscard]] bool is_paused() const { return gate_.is_paused(); }

  /// The guest's balloon; nullptr: the machine has none. While the machine lives.
  [[nodiscard]] BalloonControl* balloon() {
    return devices_ != nullptr ? devices_->balloon() : nullptr;
  }

  /// Of the memory slot of a region of the RAM, in use or not, as one step to the guest: vCPUs stay out meanwhile. One
  /// thread at a time, which holds no pin and has no range in progress. Sleeps. After an error that region may be
  /// without a slot, and the guest cannot go on.
  Result<void> change_slot(std::size_t region, SlotChange change);

  /// GuestRam::migrate(), with the vCPUs kept out where they must be. As change_slot().
  Result<void> migrate(const GpaRange& range, std::uint64_t place);

  /// Asks every vCPU that runs for a look at its registers, for which it leaves the guest a moment. Any thread; does not
  /// wait.
  void request_samples();
  /// What has come of that since, of those that run. Any thread; does not wait.
  [[nodiscard]] std::vector<VcpuSample> samples();

  /// Readable (poll) once the run has ended.
  [[nodiscard]] int ended_fd() const { return ended_fd_.get(); }

  [[nodiscard]] GuestRam& ram() { return *ram_; }

  [[nodiscard]] mmu::Counters& counters() { return counters_; }

  /// What runs the vCPUs, and its part of the figures. While the machine lives.
  [[nodiscard]] Accelerator& accelerator() { return *accelerator_; }

  /// Why it is not the accelerator that `automatic` tries first, in one line; else empty.
  [[nodiscard]] const std::string& accelerator_note() const { return accelerator_note_; }

  /// Guest instructions executed, where the accelerator counts them; else 0. After the end.
  [[nodiscard]] std::uint64_t instructions() const;

  [[nodiscard]] const LoadedKernel& kernel() const { return kernel_; }

  [[nodiscard]] Serial& serial() { return serial_; }

  /// Where the guest's console takes input: the virtio console if there is one, else the serial port.
  [[nodiscard]] ConsoleInput& console();

  /// The kernel is Linux, and has a PC around it. After create().
  [[nodiscard]] bool is_pc() const { return is_pc_; }

  [[nodiscard]] const MachineConfig& config() const { return config_; }

 private:
  explicit Machine(MachineConfig config);
  Result<void> open_host();
  Result<void> make_memory();
  Result<void> load();
  Result<void> load_linux(const LinuxImage& kernel);
  Result<void> make_vcpus();
  void pulse(unsigned gsi);
  void kick_vcpus();
  void keep_vcpus_out();
  void vcpu_ended(unsigned index, const VcpuEnd& end);
  void end(MachineEnd end) SLAT_REQUIRES(mutex_);
  void stop_as(MachineEnd how) SLAT_EXCLUDES(mutex_);

  const MachineConfig config_;
  mmu::Counters counters_;
  std::unique_ptr<Accelerator> accelerator_; // its guard outlives the RAM
  std::string accelerator_note_;
  VcpuGate gate_;
  std::unique_ptr<GuestRam> ram_;
  LoadedKernel kernel_{};
  EntryState entry_{};
  Serial serial_;
  DebugExit debug_exit_;
  PowerControl power_;
  bool is_pc_ = false; // the kernel is Linux
  PortBus ports_;
  MmioBus mmio_;
  std::unique_ptr<virtio::Devices> devices_; // their threads end after the vCPUs, before the RAM
  kvm::Fd ended_fd_;

  mmu::Mutex mutex_;
  std::condition_variable changed_;
  std::optional<MachineEnd> end_ SLAT_GUARDED_BY(mutex_);
  unsigned running_ SLAT_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> built_{false};                 // vcpus_ is whole and stays so
  std::vector<std::unique_ptr<VcpuThread>> vcpus_; // last: ends first
};

} // namespace slat::vmm
