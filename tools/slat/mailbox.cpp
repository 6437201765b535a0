#include "slat/mailbox.hpp"

#include "guests/mailbox_copy.hpp"

#include <atomic>
#include <cstddef>
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

vmm::Result<void> MailboxPages::collect(std::vector<Page>& pages) {
  const auto mailbox = sample_mailbox(*machine_);
  if (!mailbox)
    return vmm::fail(mailbox.error().code, mailbox.error().os_error, mailbox.error().message);
  // Pairs with the guest's release of a request: what it did to the page came before.
  std::atomic_thread_fence(std::memory_order_acquire);
  for (std::uint32_t vcpu = 0; vcpu < guest::max_vcpus; ++vcpu) {
    const std::uint64_t request = mailbox->slots[vcpu].given_up;
    if (request == 0 || mailbox->discarded[vcpu] == std::uint8_t(request)) continue;
    pages.push_back(
        {(request >> 32) * guest::page_size, std::uint64_t(vcpu) << 8 | (request & 0xff)});
  }
  return {};
}

vmm::Result<void> MailboxPages::acknowledge(const Page& page) {
  const std::uint32_t vcpu = std::uint32_t(page.token >> 8);
  const auto sequence = std::byte(page.token);
  const vmm::Gpa at =
      machine_->kernel().notes.mailbox.value() + offsetof(guest::Mailbox, discarded) + vcpu;
  // The removal before the byte, which is stored relaxed: pairs with the guest's acquire.
  std::atomic_thread_fence(std::memory_order_release);
  return machine_->ram().write(at, {&sequence, 1});
}

} // namespace slat::tool
