// UffdMmu: KVM's stage-2 as a SecondaryMmu. KVM maps what the guest view maps, so installing is a UFFDIO_CONTINUE on
// the guest view; the kernel's own mmu notifiers carry every zap of it into KVM.
#pragma once

#include "kvm/userfaultfd.hpp"
#include "mmu/counters.hpp"
#include "mmu/host_journal.hpp"
#include "mmu/secondary_mmu.hpp"

namespace slat::vmm {

class UffdMmu final : public mmu::SecondaryMmu {
 public:
  UffdMmu(kvm::Userfaultfd& uffd, mmu::Counters& counters) : uffd_(&uffd), counters_(&counters) {}

  /// See SecondaryMmu. Wakes the threads that wait in the range, also where it was installed already.
  mmu::InstallResult install(std::uintptr_t address, std::size_t pages, bool writable) override;

 private:
  kvm::Userfaultfd* uffd_;
  mmu::Counters* counters_;
};

/// Registers every mapping of the guest view with a userfaultfd, for missing and minor faults.
class UffdGuard final : public mmu::ViewGuard {
 public:
  explicit UffdGuard(kvm::Userfaultfd& uffd) : uffd_(&uffd) {}

  mmu::Result<void> guard(std::uintptr_t start, std::size_t length) override;

 private:
  kvm::Userfaultfd* uffd_;
};

} // namespace slat::vmm
