// VcpuBackend: what executes one vCPU, as its thread sees it: KVM or software.
#pragma once

#include "kvm/exit.hpp"
#include "vmm/crash_report.hpp"

#include <string>
#include <variant>

namespace slat::vmm {

/// The vCPU cannot go on.
struct VcpuFailure {
  std::string cause;
  bool memory =
      false; // guest memory could not be had: to be expected while the machine is being stopped
  bool refused =
      false; // perhaps because it is read-only (ReadOnlyRanges); run() may be tried again
};

using VcpuExit = std::variant<kvm::IoOut, kvm::IoIn, kvm::MmioRead, kvm::MmioWrite, kvm::Hlt,
                              kvm::Shutdown, kvm::Interrupted, VcpuFailure>;

/// One thread uses it, between attach() and detach(); request_exit() is for everybody.
class VcpuBackend {
 public:
  virtual ~VcpuBackend() = default;
  /// This thread runs the vCPU from now on; and no longer.
  virtual void attach() = 0;
  virtual void detach() = 0;
  /// Guest to the next exit, as long as that takes. Spans in the result hold until the next run().
  [[nodiscard]] virtual VcpuExit run() = 0;
  /// Makes run() return Interrupted soon, or when it is called next. Does not wait; also for a vCPU that is not
  /// attached.
  virtual void request_exit() = 0;
  /// For a report. On the vCPU's thread, or when it has ended.
  [[nodiscard]] virtual CrashRegisters registers() = 0;

  /// Guest instructions so far, where the backend counts them; else 0. When the vCPU has ended.
  [[nodiscard]] virtual std::uint64_t instructions() const { return 0; }
};

} // namespace slat::vmm
