// protect, lock and unlock: changes of a VMA's flags.
#include "mmu/address_space_of.hpp"
#include "mmu/departure.hpp"
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
  Departure departure(*this);
  HostJournal journal(window_, options_.guard);
  journal.expect(views.size());

  // Locking takes no access away: nobody has to be told.
  if ((mask & vm_access_flags) != 0)
    departure.begin(views, InvalidateEvent::protect, Departure::Fills::let_go_on);
  if ((mask & flags & vm_locked) != 0)
    mlock_count_.fetch_add(1, std::memory_order_release); // pairs with reclaim()
  if (auto set = journal.set_flags(views, mask, flags); !set) return set;
  departure.keep();
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
  return no_throw([&]() -> Result<void> {
    // The content first: what cannot be filled cannot be locked either.
    if (auto filled = fill_range(address, end, nullptr); !filled) return filled;
    {
      const WriteGuard guard(design_);
      if (auto locked = set_flags(address, end, vm_locked, vm_locked); !locked) return locked;
    }
    fill_locked(address, end); // what was discarded before the flag stood
    return {};
  });
}

template <class D> void AddressSpaceOf<D>::fill_locked(std::uintptr_t start, std::uintptr_t end) {
  try {
    (void)fill_range(start, end, nullptr); // where it fails, the next access says why
  } catch (const std::bad_alloc&) {
  }
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
  template void AddressSpaceOf<Design>::fill_locked(std::uintptr_t, std::uintptr_t);               \
  template Result<void> AddressSpaceOf<Design>::unlock(std::uintptr_t, std::uint64_t);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
