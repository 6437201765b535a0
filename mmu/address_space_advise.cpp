// advise: discarding, aging and filling.
#include "mmu/address_space_of.hpp"
#include "mmu/departure.hpp"
#include "mmu/vma_lock/all_designs.hpp"

#include <fmt/format.h>

namespace slat::mmu {

namespace {

InvalidateEvent event_of(Advice advice) {
  switch (advice) {
  case Advice::remove:
    return InvalidateEvent::remove;
  case Advice::pageout:
    return InvalidateEvent::reclaim;
  default:
    return InvalidateEvent::zap;
  }
}

Result<void> check_unlocked(const VmaViews& views) {
  for (const VmaView& view : views)
    if ((view.flags & vm_locked) != 0)
      return fail(Errc::invalid_argument, 0,
                  fmt::format("memory at {:#x} is locked: unlock it first", view.start));
  return {};
}

} // namespace

template <class D>
Result<void> AddressSpaceOf<D>::advise(std::uintptr_t address, std::uint64_t length,
                                       Advice advice) {
  if (auto ok = check_range(address, length); !ok) return ok;
  const std::uintptr_t end = address + length;
  return no_throw([&]() -> Result<void> {
    switch (advice) {
    case Advice::dontneed:
    case Advice::remove:
    case Advice::pageout:
      return discard(address, end, advice);
    case Advice::cold:
      return make_cold(address, end);
    case Advice::willneed:
      return fill_range(address, end, nullptr);
    case Advice::populate:
      return fill_range(address, end, populate_mmu_);
    }
    return fail(Errc::invalid_argument, 0, "no such advice");
  });
}

template <class D>
Result<void> AddressSpaceOf<D>::discard(std::uintptr_t start, std::uintptr_t end, Advice advice) {
  const WriteGuard guard(design_);
  auto mapped = all_mapped(start, end);
  if (!mapped) return forward(mapped);
  const VmaViews& views = *mapped;
  if (auto ok = check_unlocked(views); !ok) return ok;
  design_.tree.for_each(start, end,
                        [&](const auto& entry) { design_.vma_start_write(*entry.value); });

  const bool remove = advice == Advice::remove;
  Departure departure(*this);
  departure.begin(views, event_of(advice),
                  remove ? Departure::Fills::wait_for : Departure::Fills::let_go_on);
  if (auto zapped = host::zap(start, end - start); !zapped) return zapped;
  if (remove)
    departure.free(FlushedPages::Content::removed);
  else
    departure.keep();
  if (advice == Advice::pageout)
    for (const VmaView& view : views) // only the host view maps them now; a hint, so no errors
      (void)host::pageout(reinterpret_cast<std::uintptr_t>(view.backing->host_view(view.pgoff)),
                          view.bytes());
  return {};
}

template <class D>
Result<void> AddressSpaceOf<D>::make_cold(std::uintptr_t start, std::uintptr_t end) {
  const MmReadGuard guard(design_.mm_lock);
  auto mapped = all_mapped(start, end);
  if (!mapped) return forward(mapped);
  if (auto ok = check_unlocked(*mapped); !ok) return ok;
  if (auto told = host::cold(start, end - start); !told) return told;
  (void)notifiers_.clear_flush_young(start, end); // or what a TLB holds would look cold for ever
  for (const VmaView& view : *mapped)
    for (std::uint64_t page = view.pgoff; page < view.pgoff + view.pages().count; ++page)
      view.backing->word(page).clear_flags(PageBits::accessed);
  return {};
}

template <class D>
Result<void> AddressSpaceOf<D>::fill_range(std::uintptr_t start, std::uintptr_t end,
                                           SecondaryMmu* mmu) {
  {
    const MmReadGuard guard(design_.mm_lock);
    if (auto mapped = all_mapped(start, end); !mapped) return forward(mapped);
  }
  constexpr std::uintptr_t batch = 64 * page_size;
  for (std::uintptr_t at = start; at < end;) {
    const FaultOutcome outcome = handle_fault({.address = at,
                                               .access = vm_none,
                                               .mmu = mmu,
                                               .around_start = at,
                                               .around_end = std::min(end, at + batch)});
    switch (outcome.result) {
    case FaultResult::done:
      at = std::max(at + page_size, outcome.installed_end);
      break;
    case FaultResult::no_vma:
      return fail(Errc::not_mapped, 0, fmt::format("nothing is mapped at {:#x}", at));
    case FaultResult::poisoned:
      return fail(Errc::poisoned, 0, fmt::format("the page at {:#x} is poisoned", at));
    case FaultResult::no_memory:
      return fail(Errc::no_memory, ENOMEM,
                  fmt::format("the host has no memory for the page at {:#x}", at));
    default:
      return fail(
          Errc::os_failed, 0,
          fmt::format("the page at {:#x} cannot be filled: {}", at, to_string(outcome.result)));
    }
  }
  return {};
}

#define SLAT_INSTANTIATE(Design)                                                                   \
  template Result<void> AddressSpaceOf<Design>::advise(std::uintptr_t, std::uint64_t, Advice);     \
  template Result<void> AddressSpaceOf<Design>::fill_range(std::uintptr_t, std::uintptr_t,         \
                                                           SecondaryMmu*);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
