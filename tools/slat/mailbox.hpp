// The mailbox of a memstress guest, as the commands read it.
#pragma once

#include "guests/abi.hpp"
#include "vmm/machine.hpp"

namespace slat::tool {

/// One sample of it, through a pin (I26) that is gone on return: at any time, also while the guest runs and while its
/// memory is taken away. May sleep, and fills the page as a guest access would. `machine` runs an image with a mailbox.
vmm::Result<guest::Mailbox> sample_mailbox(vmm::Machine& machine);

} // namespace slat::tool
