#include "vmm/kvm_vcpu.hpp"

#include "vmm/vcpu_setup.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <thread>

namespace slat::vmm {

namespace {

/// The vCPU that this thread runs, for the signal handler.
thread_local kvm::Vcpu* current_vcpu = nullptr;

/// A poisoned page of guest memory reaches the vCPU's thread as SIGBUS, out of KVM_RUN: leave the guest. The fault
/// service has said already why the machine ends. Any other SIGBUS is a bug, and ends the process as it would have.
void on_sigbus(int) {
  if (current_vcpu != nullptr)
    current_vcpu->request_exit();
  else
    std::signal(SIGBUS, SIG_DFL); // the access is repeated, and then fatal
}

/// The kick signal only has to interrupt KVM_RUN: its handler does nothing. Both handlers are there before any vCPU is.
int kick_signal() {
  static const int number = [] {
    struct sigaction action{};
    sigemptyset(&action.sa_mask);
    action.sa_handler = [](int) {};
    sigaction(SIGRTMIN, &action, nullptr);
    action.sa_handler = on_sigbus;
    sigaction(SIGBUS, &action, nullptr);
    return SIGRTMIN;
  }();
  return number;
}

} // namespace

KvmVcpu::KvmVcpu(kvm::Vcpu vcpu, GuestRam& ram) : vcpu_(std::move(vcpu)), ram_(&ram) {
  (void)kick_signal(); // the handler is there before anybody kicks
}

void KvmVcpu::attach() {
  current_vcpu = &vcpu_;
  set_running_thread(pthread_self());
}

void KvmVcpu::detach() {
  set_running_thread(std::nullopt);
  current_vcpu = nullptr;
}

void KvmVcpu::set_running_thread(std::optional<pthread_t> thread) {
  mmu::MutexGuard guard(kick_mutex_);
  running_thread_ = thread;
}

void KvmVcpu::request_exit() {
  vcpu_.request_exit();
  // A thread that has not said who it is yet finds the request at its first entry.
  mmu::MutexGuard guard(kick_mutex_);
  if (running_thread_) pthread_kill(*running_thread_, kick_signal());
}

CrashRegisters KvmVcpu::registers() {
  return crash_registers(vcpu_);
}

VcpuExit KvmVcpu::run() {
  const std::uint64_t before = ram_->mm().notifiers().sequence().snapshot();
  const kvm::Result<kvm::Exit> exit = vcpu_.run();
  // Before the caller looks for work: a request made after the take is seen by the next run() (see kvm::Vcpu).
  vcpu_.take_exit_request();
  if (!exit) return VcpuFailure{exit.error().message};
  return std::visit(
      [&](const auto& reason) -> VcpuExit {
        using Reason = std::decay_t<decltype(reason)>;
        if constexpr (std::is_constructible_v<VcpuExit, std::in_place_type_t<Reason>,
                                              const Reason&>)
          return reason; // the vCPU's thread knows what to do
        else
          return other(reason, before);
      },
      *exit);
}

VcpuExit KvmVcpu::other(const kvm::Exit& exit, std::uint64_t sequence_before) {
  if (const auto* fault = std::get_if<kvm::MemoryFault>(&exit))
    return memory_fault(*fault, sequence_before);
  if (const auto* error = std::get_if<kvm::InternalError>(&exit);
      error != nullptr && error->is_emulation())
    return VcpuFailure{fmt::format(
        "KVM could not emulate an instruction ({}); a host whose KVM has no nested paging emulates "
        "all guest code of ring 0: see `slat doctor`, or use --accel soft",
        kvm::to_string(exit))};
  return VcpuFailure{kvm::to_string(exit)};
}

VcpuExit KvmVcpu::memory_fault(const kvm::MemoryFault& fault, std::uint64_t sequence_before) {
  mmu::InvalidateSeq& sequence = ram_->mm().notifiers().sequence();
  // A range in progress, or one that ended since the guest was entered, explains it.
  if (fault.os_error == EFAULT &&
      (sequence.count() != 0 || sequence.snapshot() != sequence_before)) {
    ram_->mm().counters().add(mmu::Counter::efault_count);
    // Not for a moment without any range, which a storm of them may never leave.
    const std::uint64_t now = sequence.snapshot();
    while (sequence.count() != 0 && sequence.snapshot() == now)
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    return kvm::Interrupted{};
  }
  return VcpuFailure{
      fmt::format("guest memory could not be mapped: {}", kvm::to_string(kvm::Exit(fault))), true,
      fault.os_error == EFAULT};
}

} // namespace slat::vmm
