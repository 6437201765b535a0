// read_remote() and write_remote(): the host's own accesses to guest memory, page by page through
// the fault path.
#include "mmu/address_space.hpp"

#include <algorithm>
#include <cstring>

namespace slat::mmu {

namespace {

/// Locks the page at `address` with its content present, and calls `copy` with its bytes in the
/// host view. The page lock keeps a discard of the page waiting until the copy is over.
template <class Copy>
FaultResult with_page(AddressSpace& mm, std::uintptr_t address, std::uint32_t access,
                      std::uint64_t set, Copy copy) {
  for (;;) {
    const FaultOutcome fault = handle_mm_fault(mm, {.address = address, .access = access});
    if (fault.result != FaultResult::done) return fault.result;
    const Srcu::ReadGuard section(mm.fault_srcu());
    VmaTicket ticket = mm.lock_vma_under_rcu(address);
    if (!ticket) ticket = mm.lock_vma_under_mm_lock(address);
    if (!ticket) return FaultResult::no_vma;
    // Again: it may be another VMA than the one that was faulted in.
    if ((ticket.view.flags & access) != access) {
      mm.vma_end_read(ticket);
      return FaultResult::denied;
    }
    Backing& backing = *ticket.view.backing;
    const std::uint64_t page = ticket.view.page_of(address);
    PageWord& word = backing.word(page);
    // Locked before the VMA is let go: an unmapper of it will wait for the lock.
    const bool locked = word.try_lock_present();
    const bool still = locked && mm.vma_commit(ticket);
    mm.vma_end_read(ticket);
    if (!still) {
      if (locked) word.unlock();
      word.wait_unowned();
      continue;
    }
    copy(backing.host_view(page));
    word.unlock(PageBits::accessed | set);
    return FaultResult::done;
  }
}

template <class Copy>
RemoteAccess each_page(AddressSpace& mm, std::uintptr_t address, std::size_t length,
                       std::uint32_t access, std::uint64_t set, Copy copy) {
  std::size_t done = 0;
  while (done < length) {
    const std::uintptr_t at = address + done;
    const std::size_t offset = at % page_size;
    const std::size_t count = std::min(length - done, page_size - offset);
    const FaultResult result =
        with_page(mm, at, access, set, [&](std::byte* page) { copy(page + offset, done, count); });
    if (result != FaultResult::done) return {done, result};
    done += count;
  }
  return {done, FaultResult::done};
}

} // namespace

RemoteAccess read_remote(AddressSpace& mm, std::uintptr_t address, std::span<std::byte> into) {
  return each_page(mm, address, into.size(), vm_read, 0,
                   [&](std::byte* page, std::size_t at, std::size_t count) {
                     std::memcpy(into.data() + at, page, count);
                   });
}

RemoteAccess write_remote(AddressSpace& mm, std::uintptr_t address,
                          std::span<const std::byte> from) {
  return each_page(mm, address, from.size(), vm_write, PageBits::dirty,
                   [&](std::byte* page, std::size_t at, std::size_t count) {
                     std::memcpy(page, from.data() + at, count);
                   });
}

} // namespace slat::mmu
