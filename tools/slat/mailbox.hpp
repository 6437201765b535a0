// The mailbox of a memstress guest, as the commands read it.
#pragma once

#include "guests/abi.hpp"
#include "vmm/machine.hpp"
#include "vmm/storm.hpp"

#include <vector>

namespace slat::tool {

/// One sample of it, through a pin (I26) that is gone on return: at any time, also while the guest runs and while its
/// memory is taken away. May sleep, and fills the page as a guest access would. `machine` runs an image with a mailbox.
vmm::Result<guest::Mailbox> sample_mailbox(vmm::Machine& machine);

/// What memstress gives up (`discard` on its command line), by way of its mailbox: each call pins it, and has let it go
/// on return.
class MailboxPages final : public vmm::GivenUpPages {
 public:
  /// `machine` runs memstress, and outlives this.
  explicit MailboxPages(vmm::Machine& machine) : machine_(&machine) {}

  vmm::Result<void> collect(std::vector<Page>& pages) override;
  vmm::Result<void> acknowledge(const Page& page) override;

 private:
  vmm::Machine* machine_;
};

} // namespace slat::tool
