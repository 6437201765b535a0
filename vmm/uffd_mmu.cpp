#include "vmm/uffd_mmu.hpp"

#include "mmu/host.hpp"

#include <cerrno>

namespace slat::vmm {

mmu::InstallResult UffdMmu::install(std::uintptr_t address, std::size_t pages, bool) {
  using mmu::InstallStatus;
  const kvm::Installed done = uffd_->continue_range(address, pages << mmu::page_shift);
  const std::size_t installed = done.bytes >> mmu::page_shift;
  if (done.error == 0) return {InstallStatus::installed, installed};
  if (installed != 0) return {InstallStatus::partial, installed};
  switch (done.error) {
  case EEXIST:
    // Mapped by an install that came first, or never unmapped: the fault was raised before. Whoever waits may have
    // been missed by that install's wake-up.
    counters_->add(mmu::Counter::uffd_wake_count);
    (void)uffd_->wake(address, mmu::page_size);
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
  auto registered = uffd_->register_range(start, length, {.missing = true, .minor = true});
  if (registered) return {};
  const kvm::Error& error = registered.error();
  const mmu::Errc code = error.os_error == ENOMEM ? mmu::Errc::no_memory : mmu::Errc::os_failed;
  return mmu::fail(code, error.os_error, error.message);
}

} // namespace slat::vmm
