#include "slat/mailbox.hpp"

#include "guests/mailbox_copy.hpp"

#include <fmt/format.h>

namespace slat::tool {

vmm::Result<guest::Mailbox> sample_mailbox(vmm::Machine& machine) {
  // The loader has refused images whose mailbox is not in RAM.
  auto pin = machine.ram().pin(machine.kernel().notes.mailbox.value(), sizeof(guest::Mailbox),
                               mmu::vm_read);
  if (!pin)
    return vmm::fail(vmm::Errc::host_failed, pin.error().os_error,
                     fmt::format("the guest's mailbox cannot be read: {}", pin.error().message));
  // One page, so one pin covers it.
  return guest::copy_of(*reinterpret_cast<const guest::Mailbox*>(pin->bytes().data()));
}

} // namespace slat::tool
