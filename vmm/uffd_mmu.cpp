#include "vmm/uffd_mmu.hpp"

#include "kvm/uapi_newer.hpp"
#include "mmu/host.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>

namespace slat::vmm {

bool can_protect(const kvm::Userfaultfd& uffd) {
  return (uffd.enabled() & uffd_protection_features) == uffd_protection_features;
}

bool can_continue_protected(const kvm::Userfaultfd& uffd) {
  // UFFDIO_CONTINUE_MODE_WP has no bit of its own; this one came with it.
  return can_protect(uffd) && (uffd.offered() & kvm::uapi::uffd_feature_wp_unpopulated) != 0;
}

mmu::InstallResult UffdMmu::install(const mmu::InstallRequest& run) {
  using mmu::InstallStatus;
  const bool protect = !run.writable && can_continue_protected_;
  const kvm::Installed done =
      uffd_->continue_range(run.address, run.pages << mmu::page_shift, kvm::Wake::yes,
                            protect ? kvm::Protect::yes : kvm::Protect::no);
  const std::size_t installed = done.bytes >> mmu::page_shift;
  if (done.error == 0) return {InstallStatus::installed, installed};
  if (installed != 0) return {InstallStatus::partial, installed};
  switch (done.error) {
  case EEXIST:
    // Mapped by an install that came first, or never unmapped: the fault was raised before. Whoever waits may have
    // been missed by that install's wake-up.
    counters_->add(mmu::Counter::uffd_wake_count);
    if (!run.writable || !may_be_protected_)
      (void)uffd_->wake(run.address, mmu::page_size);
    else if (const kvm::Installed permitted =
                 uffd_->write_protect(run.address, mmu::page_size, kvm::Protect::no);
             !permitted.ok())
      return {permitted.error == EAGAIN   ? InstallStatus::retry
              : permitted.error == ENOENT ? InstallStatus::gone
                                          : InstallStatus::failed,
              0};
    return {InstallStatus::already_installed, 0};
  case EAGAIN:
    return {InstallStatus::retry, 0};
  case ENOENT:
  case ESRCH:
    return {InstallStatus::gone, 0};
  case ENOMEM:
  case ENOSPC:
    return {InstallStatus::no_memory, 0};
  default:
    return {InstallStatus::failed, 0};
  }
}

mmu::Result<void> UffdGuard::guard(std::uintptr_t start, std::size_t length) {
  auto registered = uffd_->register_range(
      start, length, {.missing = true, .minor = true, .wp = can_protect(*uffd_)});
  if (registered) return {};
  const kvm::Error& error = registered.error();
  const mmu::Errc code = error.os_error == ENOMEM ? mmu::Errc::no_memory : mmu::Errc::os_failed;
  return mmu::fail(code, error.os_error, error.message);
}

mmu::Result<void> UffdGuard::write_protect(std::uintptr_t start, std::size_t length, bool on) {
  if (!can_protect(*uffd_)) return on ? mmu::host::zap(start, length) : mmu::Result<void>();
  for (;;) {
    const kvm::Installed done =
        uffd_->write_protect(start, length, on ? kvm::Protect::yes : kvm::Protect::no);
    if (done.ok()) return {};
    if (done.error == EAGAIN) continue; // the address space is changing elsewhere: not for long
    return mmu::fail(mmu::Errc::os_failed, done.error,
                     fmt::format("UFFDIO_WRITEPROTECT of {} bytes at {:#x}: {}", length, start,
                                 std::strerror(done.error)));
  }
}

} // namespace slat::vmm
