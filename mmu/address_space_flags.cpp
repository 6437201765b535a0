// protect, lock and unlock: changes of a VMA's flags.
#include "mmu/address_space_of.hpp"
#include "mmu/vma_lock/all_designs.hpp"

#include <fmt/format.h>

namespace slat::mmu {

template <class D>
Result<void> AddressSpaceOf<D>::set_flags(std::uintptr_t start, std::uintptr_t end,
                                          std::uint32_t mask, std::uint32_t flags) {
  if (auto mapped = all_mapped(start, end); !mapped) return forward(mapped);
  Change change(design_);
  change.include(start, end, Neighbours::include);
  const VmaViews views = inside(change.before(), start, end);
  if (auto ready = change.prepare(coalesced(with_flags(change.before(), start, end, mask, flags)),
                                  options_.vma_limit);
      !ready)
    return ready;
  if (auto allowed = check_limits(change); !allowed) return allowed;
  HostJournal journal(window_, options_.guard);
  journal.expect(views.size());

  // Locking takes no access away: nobody has to be told.
  const bool access = (mask & vm_access_flags) != 0;
  std::optional<MmuGather> gather;
  std::optional<NotifierChain::Scope> scope;
  if (access) {
    gather.emplace(flushers_, *counters_, start, end);
    scope.emplace(notifiers_.invalidate_range({start, end, InvalidateEvent::protect}));
    wait_for_page_owners(views, false, PageBits::installed);
  }
  auto set = journal.set_flags(views, mask, flags);
  if (gather) gather->flush().keep();
  if (!set) return set;
  scope.reset();
  commit(change);
  journal.keep();
  return {};
}

template <class D>
Result<void> AddressSpaceOf<D>::protect(std::uintptr_t address, std::uint64_t length,
                                        std::uint32_t flags) {
  if (auto ok = check_range(address, length); !ok) return ok;
  if ((flags & ~vm_access_flags) != 0)
    return fail(Errc::invalid_argument, 0, fmt::format("{:#x} is not an access", flags));
  return no_throw([&]() -> Result<void> {
    const WriteGuard guard(design_);
    return set_flags(address, address + length, vm_access_flags, flags);
  });
}

template <class D>
Result<void> AddressSpaceOf<D>::lock(std::uintptr_t address, std::uint64_t length) {
  if (auto ok = check_range(address, length); !ok) return ok;
  const std::uintptr_t end = address + length;
  // The content first: what cannot be filled cannot be locked either. A page that is discarded before
  // the flag stands is filled again below.
  if (auto filled = fill_range(address, end, nullptr); !filled) return filled;
  auto locked = no_throw([&]() -> Result<void> {
    const WriteGuard guard(design_);
    return set_flags(address, end, vm_locked, vm_locked);
  });
  if (locked) (void)fill_range(address, end, nullptr); // an unmap may have come in between
  return locked;
}

template <class D>
Result<void> AddressSpaceOf<D>::unlock(std::uintptr_t address, std::uint64_t length) {
  if (auto ok = check_range(address, length); !ok) return ok;
  return no_throw([&]() -> Result<void> {
    const WriteGuard guard(design_);
    return set_flags(address, address + length, vm_locked, vm_none);
  });
}

#define SLAT_INSTANTIATE(Design)                                                                   \
  template Result<void> AddressSpaceOf<Design>::protect(std::uintptr_t, std::uint64_t,             \
                                                        std::uint32_t);                            \
  template Result<void> AddressSpaceOf<Design>::lock(std::uintptr_t, std::uint64_t);               \
  template Result<void> AddressSpaceOf<Design>::unlock(std::uintptr_t, std::uint64_t);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
