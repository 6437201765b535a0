#include "kvm/vcpu.hpp"

#include "kvm/ioctl.hpp"
#include "kvm/uapi_newer.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>

namespace slat::kvm {

namespace {

// KVM looks whether immediate_exit is zero or not. Two bits, so that complete_pending_io() can
// force an exit and take that back without losing a request that arrives meanwhile.
constexpr std::uint8_t requested_bit = 1;
constexpr std::uint8_t completing_bit = 2;

static_assert(std::atomic_ref<std::uint8_t>::is_always_lock_free, "used in signal handlers");

} // namespace

Result<Vcpu> Vcpu::adopt(Fd fd, unsigned id, std::size_t mmap_size) {
  if (mmap_size < sizeof(kvm_run))
    return fail(Errc::invalid_argument, 0,
                fmt::format("vCPU {}: a run page of {} bytes is too small", id, mmap_size));
  Mapping page(fd.get(), mmap_size);
  if (!page.valid()) return call_failed(fmt::format("mmap of the run page of vCPU {}", id), errno);
  return Vcpu(std::move(fd), id, std::move(page));
}

Result<Exit> Vcpu::enter() {
  kvm_run& run = run_page();
  // A failing KVM_RUN fills the exit in only sometimes: what an earlier one left must not be taken
  // for it.
  if (run.exit_reason == uapi::kvm_exit_memory_fault) run.exit_reason = KVM_EXIT_UNKNOWN;
  if (::ioctl(fd_.get(), KVM_RUN, 0) >= 0) return decode_exit(run, page_.size());
  const int err = errno;
  switch (err) {
  case EINTR:
  case EAGAIN: // a vCPU that waits to be started was woken
    return Interrupted{};
  case EFAULT:
  case EHWPOISON:
    return decode_memory_fault(run, err);
  case EINVAL:
    return fail(Errc::call_failed, err,
                fmt::format("KVM_RUN of vCPU {}: {}; its registers do not make a valid processor "
                            "state",
                            id_, os_error_text(err)));
  default:
    return call_failed(fmt::format("KVM_RUN of vCPU {}", id_), err);
  }
}

Result<Exit> Vcpu::run() {
  return enter();
}

Result<Exit> Vcpu::complete_pending_io() {
  // relaxed: only this thread's own KVM_RUN has to see the bit, in program order.
  immediate_exit().fetch_or(completing_bit, std::memory_order_relaxed);
  Result<Exit> exit = enter();
  immediate_exit().fetch_and(static_cast<std::uint8_t>(~completing_bit), std::memory_order_relaxed);
  return exit;
}

void Vcpu::request_exit() noexcept {
  // release: pairs with the acquire in take_exit_request(), so that work published before is seen
  // after.
  immediate_exit().fetch_or(requested_bit, std::memory_order_release);
}

bool Vcpu::take_exit_request() noexcept {
  // acquire: pairs with the release in request_exit().
  const std::uint8_t before = immediate_exit().fetch_and(static_cast<std::uint8_t>(~requested_bit),
                                                         std::memory_order_acquire);
  return (before & requested_bit) != 0;
}

Result<void> Vcpu::set_signal_mask(const sigset_t& blocked) {
  // The kernel's set is 64 signals; glibc's has room for 1024 and starts with the same.
  struct {
    __u32 len;
    __u8 sigset[8];
  } mask{};

  static_assert(sizeof(mask) == sizeof(kvm_signal_mask) + 8);
  mask.len = sizeof(mask.sigset);
  std::memcpy(mask.sigset, &blocked, sizeof(mask.sigset));
  const int rc = retry_ioctl(fd_, KVM_SET_SIGNAL_MASK, &mask);
  if (rc < 0) return call_failed("KVM_SET_SIGNAL_MASK", -rc);
  return {};
}

Result<void> Vcpu::clear_signal_mask() {
  const int rc = retry_ioctl(fd_, KVM_SET_SIGNAL_MASK, static_cast<void*>(nullptr));
  if (rc < 0) return call_failed("KVM_SET_SIGNAL_MASK", -rc);
  return {};
}

} // namespace slat::kvm
