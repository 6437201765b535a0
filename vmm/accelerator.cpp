#include "vmm/accelerator.hpp"

#include <fmt/format.h>

namespace slat::vmm {

Result<std::unique_ptr<Accelerator>>
open_accelerator(Accel accel, const AcceleratorOptions& options, std::string& note) {
  if (accel == Accel::soft) return open_soft(options);
  auto opened = open_kvm(options);
  if (opened || accel == Accel::kvm) return opened;
  const Errc code = opened.error().code;
  if (code != Errc::host_unavailable && code != Errc::no_permission) return opened;
  note = fmt::format("no KVM: {}; running on the software vCPU instead (--accel soft)",
                     opened.error().message);
  return open_soft(options);
}

} // namespace slat::vmm
