#include "vmm/soft_vcpu.hpp"

#include "vmm/softcpu/setup.hpp"

#include <fmt/format.h>

namespace slat::vmm {

namespace {

std::string_view to_string(softcpu::Access access) {
  switch (access) {
  case softcpu::Access::read:
    return "read";
  case softcpu::Access::write:
    return "write";
  case softcpu::Access::execute:
    break;
  }
  return "fetch";
}

struct ToExit {
  VcpuExit operator()(const softcpu::MemoryFailed& failed) const {
    return VcpuFailure{fmt::format("{} of guest memory at {:#x}: {}", to_string(failed.access),
                                   failed.gpa, mmu::to_string(failed.why)),
                       true, failed.why == mmu::FaultResult::denied};
  }

  VcpuExit operator()(const softcpu::Unsupported& missing) const {
    return VcpuFailure{fmt::format("the software vCPU does not support {}", missing.what)};
  }

  template <class Exit> VcpuExit operator()(const Exit& exit) const { return exit; }
};

} // namespace

VcpuExit SoftVcpu::run() {
  return std::visit(ToExit(), cpu_.run());
}

CrashRegisters SoftVcpu::registers() {
  return softcpu::crash_registers(cpu_);
}

} // namespace slat::vmm
