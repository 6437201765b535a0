// UffdMmu: KVM's stage-2 as a SecondaryMmu. KVM maps what the guest view maps, so installing is a UFFDIO_CONTINUE on
// the guest view; the kernel's own mmu notifiers carry every zap of it into KVM.
#pragma once

#include "kvm/userfaultfd.hpp"
#include "mmu/counters.hpp"
#include "mmu/host_journal.hpp"
#include "mmu/secondary_mmu.hpp"

namespace slat::vmm {

/// What is wanted of the kernel for write protection of a memfd: Linux 5.19. Without it pages are zapped instead.
inline constexpr std::uint64_t uffd_protection_features =
    UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

/// Whether pages can be protected where they are, and whether they can be mapped protected: Linux 6.4.
[[nodiscard]] bool can_protect(const kvm::Userfaultfd& uffd);
[[nodiscard]] bool can_continue_protected(const kvm::Userfaultfd& uffd);

class UffdMmu final : public mmu::SecondaryMmu {
 public:
  UffdMmu(kvm::Userfaultfd& uffd, mmu::Counters& counters)
      : uffd_(&uffd), counters_(&counters), may_be_protected_(can_protect(uffd)),
        can_continue_protected_(can_continue_protected(uffd)) {}

  /// See SecondaryMmu. Wakes the threads that wait in the range, also where it was installed already.
  mmu::InstallResult install(const mmu::InstallRequest& run) override;

  [[nodiscard]] bool can_write_protect() const override { return can_continue_protected_; }

 private:
  kvm::Userfaultfd* uffd_;
  mmu::Counters* counters_;
  const bool may_be_protected_; // a page that is mapped
  const bool can_continue_protected_;
};

/// Registers every mapping of the guest view with a userfaultfd: for missing and minor faults, and for write
/// protection where the kernel has it.
class UffdGuard final : public mmu::ViewGuard {
 public:
  explicit UffdGuard(kvm::Userfaultfd& uffd) : uffd_(&uffd) {}

  mmu::Result<void> guard(std::uintptr_t start, std::size_t length) override;
  /// See ViewGuard. Where the kernel cannot, pages are zapped: the next access faults, for reading too.
  mmu::Result<void> write_protect(std::uintptr_t start, std::size_t length, bool on) override;

 private:
  kvm::Userfaultfd* uffd_;
};

} // namespace slat::vmm
