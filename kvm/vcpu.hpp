// Vcpu: one virtual processor: its state, its run loop's one step, and how others interrupt it.
#pragma once

#include "kvm/error.hpp"
#include "kvm/exit.hpp"
#include "kvm/fd.hpp"
#include "kvm/mapping.hpp"
#include "kvm/uapi.hpp"

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>

namespace slat::kvm {

/// Owns a vCPU and its run page. One thread at a time uses it, and that should always be the same
/// thread; request_exit() alone is for everybody, also in a signal handler, as long as the Vcpu is
/// neither moved nor destroyed meanwhile.
///
/// To stop a vCPU from another thread: publish the work (release), request_exit(), then send the
/// vCPU's thread a signal whose handler does nothing, or calls request_exit(). The vCPU's thread,
/// on Interrupted, calls take_exit_request() *before* it looks for work. Either the signal
/// interrupts the guest, or the request makes the next entry return at once: no kick is lost.
class Vcpu {
 public:
  /// Takes over a vCPU's descriptor and maps its run page. Vm::create_vcpu() is the usual way.
  [[nodiscard]] static Result<Vcpu> adopt(Fd fd, unsigned id, std::size_t mmap_size);

  [[nodiscard]] unsigned id() const noexcept { return id_; }

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  // Registers. All of these may sleep for the vCPU's mutex if another thread is in run(). After an
  // IO or MMIO exit, complete_pending_io() comes first. Errors: call_failed.
  [[nodiscard]] Result<kvm_regs> get_regs() const;
  Result<void> set_regs(const kvm_regs& regs);
  [[nodiscard]] Result<kvm_sregs> get_sregs() const;
  Result<void> set_sregs(const kvm_sregs& sregs);
  [[nodiscard]] Result<kvm_fpu> get_fpu() const;
  Result<void> set_fpu(const kvm_fpu& fpu);
  [[nodiscard]] Result<kvm_xsave> get_xsave() const;
  Result<void> set_xsave(const kvm_xsave& xsave);
  [[nodiscard]] Result<kvm_xcrs> get_xcrs() const;
  Result<void> set_xcrs(const kvm_xcrs& xcrs);
  [[nodiscard]] Result<kvm_debugregs> get_debugregs() const;
  Result<void> set_debugregs(const kvm_debugregs& debugregs);
  [[nodiscard]] Result<kvm_vcpu_events> get_events() const;
  Result<void> set_events(const kvm_vcpu_events& events);
  /// With an in-kernel interrupt controller only.
  [[nodiscard]] Result<kvm_lapic_state> get_lapic() const;
  Result<void> set_lapic(const kvm_lapic_state& lapic);
  [[nodiscard]] Result<kvm_mp_state> get_mp_state() const;
  Result<void> set_mp_state(const kvm_mp_state& state);
  Result<void> set_guest_debug(const kvm_guest_debug& debug);

  /// What CPUID shows. Before the first run(). Allocates. Errors: invalid_argument, call_failed.
  Result<void> set_cpuid(std::span<const kvm_cpuid_entry2> entries);
  /// Fills in `data` of each entry, by its `index`. Allocates. Errors: not_supported names the MSR
  /// that KVM refused; those before it are done.
  [[nodiscard]] Result<void> get_msrs(std::span<kvm_msr_entry> msrs) const;
  Result<void> set_msrs(std::span<const kvm_msr_entry> msrs);
  /// Guest TSC frequency in kHz.
  [[nodiscard]] Result<std::uint32_t> tsc_khz() const;

  /// Guest to the next exit. A guest that touches a poisoned page ends as a SIGBUS to this thread,
  /// with si_code BUS_MCEERR_AR and the page's host address: without a handler that calls
  /// request_exit() the process dies. Sleeps as long as the guest runs or is blocked in a memory
  /// fault. Does not allocate unless it fails. Errors: call_failed where KVM_RUN fails for another
  /// reason than a signal or guest memory.
  [[nodiscard]] Result<Exit> run();

  /// Lets the access of the last IO or MMIO exit take effect, without entering the guest: do it
  /// before reading, changing or saving registers. Interrupted: it is done. Another access (a split
  /// or repeated one goes on): serve it, and call this again.
  [[nodiscard]] Result<Exit> complete_pending_io();

  /// Makes run() return Interrupted as soon as it starts, until take_exit_request(). Lock-free: for
  /// any thread and any signal handler. A guest that runs already is left only with a signal.
  void request_exit() noexcept;
  /// Takes the request back, and tells whether there was one. For the thread that runs the vCPU.
  bool take_exit_request() noexcept;

  /// The signals that are blocked while run() is in the kernel, in place of the thread's mask:
  /// block a kick signal in the thread and unblock it here, and it can never be lost. It stays
  /// pending after Interrupted: take it with sigtimedwait(). Never block SIGBUS here, see run().
  Result<void> set_signal_mask(const sigset_t& blocked);
  Result<void> clear_signal_mask();

 private:
  Vcpu(Fd fd, unsigned id, Mapping page) : fd_(std::move(fd)), id_(id), page_(std::move(page)) {}

  [[nodiscard]] kvm_run& run_page() const noexcept { return *static_cast<kvm_run*>(page_.data()); }

  [[nodiscard]] std::atomic_ref<std::uint8_t> immediate_exit() const noexcept {
    return std::atomic_ref<std::uint8_t>(run_page().immediate_exit);
  }

  [[nodiscard]] Result<Exit> enter();

  Fd fd_;
  unsigned id_;
  Mapping page_;
};

} // namespace slat::kvm
