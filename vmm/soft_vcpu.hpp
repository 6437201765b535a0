// SoftVcpu: a software vCPU as a machine's thread runs it.
#pragma once

#include "vmm/softcpu/cpu.hpp"
#include "vmm/vcpu_backend.hpp"

namespace slat::vmm {

class SoftVcpu final : public VcpuBackend {
 public:
  /// `memory` outlives it.
  explicit SoftVcpu(softcpu::GuestPhysical& memory) : cpu_(memory) {}

  [[nodiscard]] softcpu::Cpu& cpu() { return cpu_; }

  void attach() override {}

  void detach() override {}

  VcpuExit run() override;

  void request_exit() override { cpu_.request_exit(); }

  [[nodiscard]] CrashRegisters registers() override;

  [[nodiscard]] std::uint64_t instructions() const override { return cpu_.instructions(); }

 private:
  softcpu::Cpu cpu_;
};

} // namespace slat::vmm
