#include "kvm/flex_buffer.hpp"
#include "kvm/ioctl.hpp"
#include "kvm/vcpu.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>

namespace slat::kvm {

namespace {

template <class State>
Result<State> get_state(const Fd& fd, unsigned long request, std::string_view name) {
  State state{};
  const int rc = retry_ioctl(fd, request, &state);
  if (rc < 0) return call_failed(name, -rc);
  return state;
}

template <class State>
Result<void> set_state(const Fd& fd, unsigned long request, const State& state,
                       std::string_view name) {
  // The kernel reads only; some of these are declared as if it wrote.
  const int rc = retry_ioctl(fd, request, &state);
  if (rc < 0) return call_failed(name, -rc);
  return {};
}

tl::unexpected<Error> msr_refused(std::string_view call, std::uint32_t index) {
  return fail(Errc::not_supported, 0,
              fmt::format("{}: MSR {:#x} is refused; the guest's CPUID or this host's KVM lacks it",
                          call, index));
}

} // namespace

Result<kvm_regs> Vcpu::get_regs() const {
  return get_state<kvm_regs>(fd_, KVM_GET_REGS, "KVM_GET_REGS");
}

Result<void> Vcpu::set_regs(const kvm_regs& regs) {
  return set_state(fd_, KVM_SET_REGS, regs, "KVM_SET_REGS");
}

Result<kvm_sregs> Vcpu::get_sregs() const {
  return get_state<kvm_sregs>(fd_, KVM_GET_SREGS, "KVM_GET_SREGS");
}

Result<void> Vcpu::set_sregs(const kvm_sregs& sregs) {
  return set_state(fd_, KVM_SET_SREGS, sregs, "KVM_SET_SREGS");
}

Result<kvm_fpu> Vcpu::get_fpu() const {
  return get_state<kvm_fpu>(fd_, KVM_GET_FPU, "KVM_GET_FPU");
}

Result<void> Vcpu::set_fpu(const kvm_fpu& fpu) {
  return set_state(fd_, KVM_SET_FPU, fpu, "KVM_SET_FPU");
}

Result<kvm_xsave> Vcpu::get_xsave() const {
  return get_state<kvm_xsave>(fd_, KVM_GET_XSAVE, "KVM_GET_XSAVE");
}

Result<void> Vcpu::set_xsave(const kvm_xsave& xsave) {
  return set_state(fd_, KVM_SET_XSAVE, xsave, "KVM_SET_XSAVE");
}

Result<kvm_xcrs> Vcpu::get_xcrs() const {
  return get_state<kvm_xcrs>(fd_, KVM_GET_XCRS, "KVM_GET_XCRS");
}

Result<void> Vcpu::set_xcrs(const kvm_xcrs& xcrs) {
  return set_state(fd_, KVM_SET_XCRS, xcrs, "KVM_SET_XCRS");
}

Result<kvm_debugregs> Vcpu::get_debugregs() const {
  return get_state<kvm_debugregs>(fd_, KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS");
}

Result<void> Vcpu::set_debugregs(const kvm_debugregs& debugregs) {
  return set_state(fd_, KVM_SET_DEBUGREGS, debugregs, "KVM_SET_DEBUGREGS");
}

Result<kvm_vcpu_events> Vcpu::get_events() const {
  return get_state<kvm_vcpu_events>(fd_, KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
}

Result<void> Vcpu::set_events(const kvm_vcpu_events& events) {
  return set_state(fd_, KVM_SET_VCPU_EVENTS, events, "KVM_SET_VCPU_EVENTS");
}

Result<kvm_lapic_state> Vcpu::get_lapic() const {
  return get_state<kvm_lapic_state>(fd_, KVM_GET_LAPIC, "KVM_GET_LAPIC");
}

Result<void> Vcpu::set_lapic(const kvm_lapic_state& lapic) {
  return set_state(fd_, KVM_SET_LAPIC, lapic, "KVM_SET_LAPIC");
}

Result<kvm_mp_state> Vcpu::get_mp_state() const {
  return get_state<kvm_mp_state>(fd_, KVM_GET_MP_STATE, "KVM_GET_MP_STATE");
}

Result<void> Vcpu::set_mp_state(const kvm_mp_state& state) {
  return set_state(fd_, KVM_SET_MP_STATE, state, "KVM_SET_MP_STATE");
}

Result<void> Vcpu::set_guest_debug(const kvm_guest_debug& debug) {
  return set_state(fd_, KVM_SET_GUEST_DEBUG, debug, "KVM_SET_GUEST_DEBUG");
}

Result<void> Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) {
  FlexBuffer<kvm_cpuid2, kvm_cpuid_entry2> buffer(entries);
  buffer.header()->nent = static_cast<__u32>(entries.size());
  const int rc = retry_ioctl(fd_, KVM_SET_CPUID2, buffer.header());
  if (rc == -E2BIG || rc == -EINVAL)
    return fail(Errc::invalid_argument, -rc,
                fmt::format("KVM_SET_CPUID2 of vCPU {}: {} entries refused: {}; start from "
                            "System::supported_cpuid(), before the first run",
                            id_, entries.size(), os_error_text(-rc)));
  if (rc < 0) return call_failed("KVM_SET_CPUID2", -rc);
  return {};
}

Result<void> Vcpu::get_msrs(std::span<kvm_msr_entry> msrs) const {
  FlexBuffer<kvm_msrs, kvm_msr_entry> buffer{std::span<const kvm_msr_entry>(msrs)};
  buffer.header()->nmsrs = static_cast<__u32>(msrs.size());
  const int rc = retry_ioctl(fd_, KVM_GET_MSRS, buffer.header());
  if (rc < 0) return call_failed("KVM_GET_MSRS", -rc);
  const std::size_t got = std::min<std::size_t>(static_cast<std::size_t>(rc), msrs.size());
  std::ranges::copy(buffer.entries().first(got), msrs.begin());
  if (got < msrs.size()) return msr_refused("KVM_GET_MSRS", msrs[got].index);
  return {};
}

Result<void> Vcpu::set_msrs(std::span<const kvm_msr_entry> msrs) {
  FlexBuffer<kvm_msrs, kvm_msr_entry> buffer(msrs);
  buffer.header()->nmsrs = static_cast<__u32>(msrs.size());
  const int rc = retry_ioctl(fd_, KVM_SET_MSRS, buffer.header());
  if (rc < 0) return call_failed("KVM_SET_MSRS", -rc);
  if (static_cast<std::size_t>(rc) < msrs.size())
    return msr_refused("KVM_SET_MSRS", msrs[static_cast<std::size_t>(rc)].index);
  return {};
}

Result<std::uint32_t> Vcpu::tsc_khz() const {
  const int rc = retry_ioctl(fd_, KVM_GET_TSC_KHZ, 0);
  if (rc < 0) return call_failed("KVM_GET_TSC_KHZ", -rc);
  return static_cast<std::uint32_t>(rc);
}

} // namespace slat::kvm
