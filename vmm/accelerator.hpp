// Accelerator: what executes a machine's vCPUs, and the stage-2 behind its memory: KVM or software.
#pragma once

#include "mmu/histogram.hpp"
#include "mmu/host_journal.hpp"
#include "vmm/boot_tables.hpp"
#include "vmm/fault_service.hpp"
#include "vmm/guest_ram.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/soft_memory.hpp"
#include "vmm/vcpu_backend.hpp"

#include <functional>
#include <memory>
#include <string_view>

namespace slat::vmm {

enum class Accel {
  automatic, // KVM, or software where the host does not have what KVM needs
  kvm,
  soft,
};

struct AcceleratorOptions {
  std::string kvm_device = "/dev/kvm";
  unsigned cpus = 1;
  unsigned fault_threads = 0; // KVM; 0: one for two vCPUs, at least one
  std::uint32_t fault_around = 16;
  SeccompMode seccomp = SeccompMode::off; // of the fault threads; prepare_sandbox() first
};

/// In this order: open, create guest RAM with guard(), attach_memory(), create_vcpu() for each, run; then, when all vCPU
/// threads have ended, detach_memory(), and destroy vCPUs, RAM and this.
class Accelerator {
 public:
  /// A fault that cannot be resolved: one line. Any thread.
  using OnFailure = std::function<void(std::string)>;

  virtual ~Accelerator() = default;

  /// "kvm" or "soft".
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual unsigned max_vcpus() const = 0;

  /// Told of every mapping of the guest view; nullptr: nobody needs to be.
  [[nodiscard]] virtual mmu::ViewGuard* guard() { return nullptr; }

  virtual Result<void> attach_memory(GuestRam& ram, OnFailure on_failure) = 0;
  virtual void detach_memory() = 0;

  /// The memory slot of a region of the RAM: gone, so that the guest has nothing there; and there again, where the
  /// region's guest view is now. No vCPU is in the guest (VcpuGate); one thread at a time. Sleep.
  virtual Result<void> remove_slot(std::size_t region) = 0;
  virtual Result<void> add_slot(std::size_t region) = 0;

  /// The dirty log: which pages of a region the guest has written since the last call, a bit each; `bits` has a word for
  /// each 64 pages. A write that races with a call is in it or in the next. log_dirty() first; it may come while vCPUs
  /// run. Regions are multiples of 256 KiB. Sleep.
  virtual Result<void> log_dirty() = 0;
  virtual Result<void> read_dirty(std::size_t region, std::span<std::uint64_t> bits) = 0;

  /// A PC's interrupt controllers and timer, for guests that bring a kernel of their own (Linux): hlt then waits for an
  /// interrupt, and vCPUs but the first wait until the guest starts them. Before the first vCPU. Errors:
  /// host_unavailable, with the reason why such a guest cannot run here.
  virtual Result<void> make_pc() = 0;
  /// The level of an interrupt line of those. Any thread; does not sleep.
  virtual void set_irq_line(unsigned gsi, bool raised) = 0;

  /// vCPU `index`, in the state of `entry`.
  virtual Result<std::unique_ptr<VcpuBackend>> create_vcpu(unsigned index,
                                                           const EntryState& entry) = 0;

  /// Stage-2 faults of the guest. Any time after attach_memory().
  [[nodiscard]] virtual std::uint64_t fault_count() const = 0;
  [[nodiscard]] virtual mmu::Histogram fault_latency_ns() const = 0;

  /// KVM's; else nullptr.
  [[nodiscard]] virtual FaultService* fault_service() { return nullptr; }

  /// Our own stage-2; nullptr where it is KVM's.
  [[nodiscard]] virtual SoftMemory* soft_memory() { return nullptr; }
};

/// `automatic`: KVM if the device, userfaultfd and the permissions are there; else software, and `note` says why in one
/// line. Errors: host_unavailable, no_permission, host_limit, host_failed.
Result<std::unique_ptr<Accelerator>>
open_accelerator(Accel accel, const AcceleratorOptions& options, std::string& note);

Result<std::unique_ptr<Accelerator>> open_kvm(const AcceleratorOptions& options);
Result<std::unique_ptr<Accelerator>> open_soft(const AcceleratorOptions& options);

} // namespace slat::vmm
