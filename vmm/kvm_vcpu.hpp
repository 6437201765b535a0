// KvmVcpu: a vCPU that KVM runs.
//
// A kick is a request in the run page and then a signal: either the signal interrupts the guest, or the request makes
// the next entry return at once.
#pragma once

#include "kvm/vcpu.hpp"
#include "mmu/thread_safety.hpp"
#include "vmm/guest_ram.hpp"
#include "vmm/vcpu_backend.hpp"

#include <optional>
#include <pthread.h>

namespace slat::vmm {

class KvmVcpu final : public VcpuBackend {
 public:
  /// `ram` outlives it.
  KvmVcpu(kvm::Vcpu vcpu, GuestRam& ram);

  void attach() override;
  void detach() override;
  VcpuExit run() override;
  void request_exit() override SLAT_EXCLUDES(kick_mutex_);
  [[nodiscard]] CrashRegisters registers() override;

 private:
  void set_running_thread(std::optional<pthread_t> thread) SLAT_EXCLUDES(kick_mutex_);
  [[nodiscard]] VcpuExit other(const kvm::Exit& exit, std::uint64_t sequence_before);
  [[nodiscard]] VcpuExit memory_fault(const kvm::MemoryFault& fault, std::uint64_t sequence_before);

  kvm::Vcpu vcpu_;
  GuestRam* ram_;
  mmu::Mutex kick_mutex_; // a signal goes to the thread while it lives, or not at all
  std::optional<pthread_t> running_thread_ SLAT_GUARDED_BY(kick_mutex_);
};

} // namespace slat::vmm
