// VcpuThread: one vCPU on one host thread, as a state machine.
//
//   created --start()--> running --exit that ends it--> ended
//                        running --request_stop()--> stopping --next exit or kick--> ended
//   created --request_stop()--> stopping --start()--> ended
//
// running -> ended and stopping -> ended are made by the vCPU's thread, the others by anybody.
#pragma once

#include "mmu/thread_safety.hpp"
#include "vmm/error.hpp"
#include "vmm/guest_ram.hpp"
#include "vmm/mmio_bus.hpp"
#include "vmm/port_bus.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/vcpu_backend.hpp"
#include "vmm/vcpu_gate.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

namespace slat::vmm {

enum class VcpuState { created, running, stopping, ended };

/// Why a vCPU ended.
struct VcpuEnd {
  enum class Reason {
    stopped, // on request
    halted,  // hlt, and nothing can wake it
    crashed, // triple fault, internal error, or an exit that cannot be handled
  };
  Reason reason = Reason::stopped;
  std::string report = {}; // crashed: several lines
};

/// A look at a vCPU from outside.
struct VcpuSample {
  unsigned index = 0;
  std::uint64_t exits = 0; // so far: accesses to devices, and what else slat has had to do for it
  std::optional<CrashRegisters> registers =
      {}; // none: it has not come out of the guest since it was asked
};

class VcpuThread {
 public:
  /// Called once on the vCPU's thread when it ends.
  using OnEnd = std::function<void(unsigned index, const VcpuEnd& end)>;

  /// `gate`, `ram`, `ports` and `mmio` outlive it. `seccomp`: of its thread; prepare_sandbox() first.
  VcpuThread(unsigned index, std::unique_ptr<VcpuBackend> vcpu, VcpuGate& gate, GuestRam& ram,
             PortBus& ports, const MmioBus& mmio, SeccompMode seccomp, OnEnd on_end);
  /// Stops and joins.
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  /// Errors: host_limit if no thread can be had.
  Result<void> start();
  /// Asks the vCPU to end as soon as it leaves the guest, and kicks it out; kept out by its gate it ends there. Any thread, any number of times; does not
  /// wait. A vCPU blocked in a memory fault ends when the fault is resolved or the signal gets through.
  void request_stop();
  /// Sleeps until the thread has ended. For the owner, after request_stop() or the end.
  void join();

  /// Asks for a look at the registers, for which the vCPU leaves the guest a moment. Any thread; does not wait.
  void request_sample() SLAT_EXCLUDES(sample_mutex_);
  /// What has come of the last request. Any thread; does not wait.
  [[nodiscard]] VcpuSample sample() SLAT_EXCLUDES(sample_mutex_);

  [[nodiscard]] VcpuState state() const {
    return state_.load(std::memory_order_acquire);
  } // pairs with the changes

  [[nodiscard]] VcpuBackend& vcpu() { return *vcpu_; }

 private:
  void run();
  /// Enters the guest until there is an end.
  [[nodiscard]] VcpuEnd run_guest();
  /// What to do after an exit: nothing, or end.
  std::optional<VcpuEnd> handle(const VcpuExit& exit);
  std::optional<VcpuEnd> mmio_read(const kvm::MmioRead& access);
  std::optional<VcpuEnd> mmio_write(const kvm::MmioWrite& access);
  [[nodiscard]] VcpuEnd crash(const std::string& cause);
  void give_sample() SLAT_EXCLUDES(sample_mutex_);

  const unsigned index_;
  const std::unique_ptr<VcpuBackend> vcpu_;
  VcpuGate* gate_;
  GuestRam* ram_;
  PortBus* ports_;
  const MmioBus* mmio_;
  const SeccompMode seccomp_;
  const OnEnd on_end_;
  std::uint64_t read_only_before_ = 0; // of the vCPU's thread; see ReadOnlyRanges
  std::atomic<VcpuState> state_{VcpuState::created};
  std::atomic<std::uint64_t> exits_{0};
  std::atomic<bool> sample_wanted_{false}; // beside the mutex, so that an exit costs no lock
  mmu::Mutex sample_mutex_;                // a leaf
  std::optional<CrashRegisters> registers_ SLAT_GUARDED_BY(sample_mutex_);
  std::thread thread_;
};

} // namespace slat::vmm
