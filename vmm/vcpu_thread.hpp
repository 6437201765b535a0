// VcpuThread: one vCPU on one host thread, as a state machine.
//
//   created --start()--> running --exit that ends it--> ended
//                        running --request_stop()--> stopping --next exit or kick--> ended
//   created --request_stop()--> stopping --start()--> ended
//
// running -> ended and stopping -> ended are made by the vCPU's thread, the others by anybody.
// A kick is a request in the run page and then a signal: either the signal interrupts the guest, or the request makes
// the next entry return at once.
#pragma once

#include "kvm/vcpu.hpp"
#include "mmu/thread_safety.hpp"
#include "vmm/error.hpp"
#include "vmm/guest_ram.hpp"
#include "vmm/port_bus.hpp"

#include <atomic>
#include <functional>
#include <optional>
#include <pthread.h>
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

class VcpuThread {
 public:
  /// Called once on the vCPU's thread when it ends.
  using OnEnd = std::function<void(unsigned index, const VcpuEnd& end)>;

  VcpuThread(unsigned index, kvm::Vcpu vcpu, GuestRam& ram, PortBus& ports, OnEnd on_end);
  /// Stops and joins.
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  /// Errors: host_limit if no thread can be had.
  Result<void> start();
  /// Asks the vCPU to end as soon as it leaves the guest, and kicks it out. Any thread, any number of times; does not
  /// wait. A vCPU blocked in a memory fault ends when the fault is resolved or the signal gets through.
  void request_stop() SLAT_EXCLUDES(kick_mutex_);
  /// Sleeps until the thread has ended. For the owner, after request_stop() or the end.
  void join();

  [[nodiscard]] VcpuState state() const {
    return state_.load(std::memory_order_acquire);
  } // pairs with the changes

  [[nodiscard]] kvm::Vcpu& vcpu() { return vcpu_; }

 private:
  void run();
  void set_running_thread(std::optional<pthread_t> thread) SLAT_EXCLUDES(kick_mutex_);
  /// What to do after an exit: nothing, or end.
  std::optional<VcpuEnd> handle(const kvm::Exit& exit, std::uint64_t sequence_before);
  std::optional<VcpuEnd> handle_memory_fault(const kvm::MemoryFault& fault,
                                             std::uint64_t sequence_before);
  std::optional<VcpuEnd> mmio_read(const kvm::MmioRead& access);
  std::optional<VcpuEnd> mmio_write(const kvm::MmioWrite& access);
  [[nodiscard]] VcpuEnd crash(const std::string& cause);

  const unsigned index_;
  kvm::Vcpu vcpu_;
  GuestRam* ram_;
  PortBus* ports_;
  const OnEnd on_end_;
  std::atomic<VcpuState> state_{VcpuState::created};
  mmu::Mutex kick_mutex_; // a signal goes to the thread while it lives, or not at all
  std::optional<pthread_t> running_thread_ SLAT_GUARDED_BY(kick_mutex_);
  std::thread thread_;
};

} // namespace slat::vmm
