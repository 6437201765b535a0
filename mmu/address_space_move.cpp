// move: mremap. A mapping shrinks where it is, grows where it is if there is room, or goes elsewhere
// with its pages; what their words say stays true, for words belong to the backing.
#include "mmu/address_space_of.hpp"
#include "mmu/departure.hpp"
#include "mmu/vma_lock/all_designs.hpp"

#include <bit>
#include <fmt/format.h>

namespace slat::mmu {

namespace {

Result<void> check_move(const MoveRequest& request) {
  if (auto ok = check_range(request.address, request.old_length); !ok) return ok;
  if (auto ok = check_range(request.to.value_or(request.address), request.new_length); !ok)
    return ok;
  if (request.to && *request.to == 0)
    return fail(Errc::invalid_argument, 0, "nothing can be moved to address 0");
  if (request.alignment < page_size || !std::has_single_bit(request.alignment))
    return fail(Errc::invalid_argument, 0,
                fmt::format("{} is not a usable alignment", request.alignment));
  if (request.to && *request.to < request.address + request.old_length &&
      request.address < *request.to + request.new_length)
    return fail(Errc::invalid_argument, 0,
                fmt::format("a mapping cannot be moved onto itself, from {:#x} to {:#x}",
                            request.address, *request.to));
  return {};
}

/// What is to be mapped behind the old end; empty if nothing is.
Result<VmaView> growth_of(const MoveRequest& request, const VmaViews& views) {
  VmaView growth;
  if (request.new_length <= request.old_length) return growth;
  if (views.size() != 1)
    return fail(Errc::invalid_argument, 0, "a mapping of several VMAs cannot grow");
  growth = views.front();
  growth.start = request.address + request.old_length;
  growth.end = request.address + request.new_length;
  growth.pgoff = views.front().page_of(growth.start);
  if (growth.pgoff + growth.pages().count > growth.backing->pages())
    return fail(Errc::invalid_argument, 0, "a mapping cannot grow beyond its backing");
  return growth;
}

/// mremap may drop the host's write protection of pages, so they count as written. Inside the range: no access
/// by the new address has begun.
void forget_tracking(const VmaViews& views) {
  for (const VmaView& view : views) {
    const PageRun run = view.pages();
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      if (PageWord& word = view.backing->word(page); word.read().has(PageBits::write_tracked))
        word.clear_flags(PageBits::write_tracked);
  }
}

} // namespace

template <class D> Result<std::uintptr_t> AddressSpaceOf<D>::move(const MoveRequest& request) {
  if (auto ok = check_move(request); !ok) return forward(ok);
  return no_throw([&]() -> Result<std::uintptr_t> {
    Result<std::uintptr_t> moved;
    bool locked = false;
    {
      const WriteGuard guard(design_);
      moved = move_or_resize(request);
      if (!moved || request.new_length <= request.old_length) return moved;
      locked = (design_.tree.find(*moved)->view().flags & vm_locked) != 0;
    }
    if (locked) fill_locked(*moved + request.old_length, *moved + request.new_length);
    return moved;
  });
}

template <class D>
Result<std::uintptr_t> AddressSpaceOf<D>::move_or_resize(const MoveRequest& request) {
  const std::uintptr_t start = request.address;
  const std::uintptr_t old_end = start + request.old_length;
  auto views = all_mapped(start, old_end);
  if (!views) return forward(views);
  auto growth = growth_of(request, *views);
  if (!growth) return forward(growth);
  if (request.to || request.elsewhere) return move_locked(request, *growth);
  if (request.new_length == request.old_length) return start;
  if (request.new_length < request.old_length) {
    auto shrunk = unmap_locked(start + request.new_length, old_end);
    if (!shrunk) return forward(shrunk);
    return start;
  }
  auto grown = map_locked({.address = growth->start,
                           .length = growth->bytes(),
                           .flags = growth->flags,
                           .backing = growth->backing,
                           .pgoff = growth->pgoff});
  if (grown) return start;
  if (grown.error().code != Errc::exists) return grown;
  // A neighbour is in the way, or the pages behind are mapped elsewhere; then moving fails too.
  if (request.may_move) return move_locked(request, *growth);
  return fail(Errc::no_memory, ENOMEM,
              fmt::format("{:#x} cannot grow to {} bytes where it is: {}", start,
                          request.new_length, grown.error().message));
}

template <class D>
Result<std::uintptr_t> AddressSpaceOf<D>::move_locked(const MoveRequest& request, VmaView growth) {
  const std::uintptr_t start = request.address;
  const std::uintptr_t old_end = start + request.old_length;
  const std::uintptr_t kept_end = start + std::min(request.old_length, request.new_length);
  Departure leaving(*this); // of the pages that move: they stay, their translations go
  Departure leaving_tail(*this);
  Departure leaving_victims(*this);
  HostJournal journal(window_, options_.guard);
  journal.expect(1);
  auto to = choose_place({.address = request.to.value_or(0),
                          .length = request.new_length,
                          .alignment = request.alignment});
  if (to && *to == 0) to = journal.reserve(request.new_length, request.alignment);
  if (!to) return to;
  const std::uintptr_t to_end = *to + request.new_length;

  Change change(design_);
  change.include(start, old_end, Neighbours::include);
  change.include(*to, to_end, Neighbours::include);
  const VmaViews moving = inside(change.before(), start, kept_end);
  const VmaViews tail = inside(change.before(), kept_end, old_end);
  const VmaViews victims = inside(change.before(), *to, to_end);
  VmaViews after = cut(cut(change.before(), start, old_end), *to, to_end);
  for (VmaView view : moving) {
    view.start += *to - start;
    view.end += *to - start;
    after = put(std::move(after), view);
  }
  std::optional<PageReservation> pages;
  const bool grows = growth.start != growth.end;
  if (grows) {
    pages.emplace(*growth.backing, growth.pages());
    if (!pages->outcome()) return forward(pages->outcome());
    growth.start += *to - start;
    growth.end += *to - start;
    after = put(std::move(after), growth);
  }
  if (auto ready = change.prepare(coalesced(after), options_.vma_limit); !ready)
    return forward(ready);
  if (auto allowed = check_limits(change); !allowed) return forward(allowed);
  journal.expect(2 * moving.size() + tail.size() + 2 * victims.size() + 3);
  leaving.begin(moving, InvalidateEvent::move, Departure::Fills::let_go_on);
  leaving_tail.begin(tail, InvalidateEvent::unmap, Departure::Fills::wait_for);
  leaving_victims.begin(victims, InvalidateEvent::unmap, Departure::Fills::wait_for);
  const auto change_host = [&]() -> Result<void> {
    if (auto taken = journal.unmap(victims); !taken) return taken;
    if (request.to)
      if (auto reserved = journal.reserve_between(victims, *to, to_end); !reserved) return reserved;
    if (auto taken = journal.unmap(tail); !taken) return taken;
    forget_tracking(moving);
    if (auto moved = journal.move(moving, *to); !moved) return moved;
    return grows ? journal.map(growth) : Result<void>();
  };
  if (auto changed = change_host(); !changed) return forward(changed);
  leaving_victims.free();
  leaving_tail.free();
  leaving.keep();
  commit(change);
  leaving_victims.unreserve();
  leaving_tail.unreserve();
  if (pages) pages->keep();
  journal.keep();
  return *to;
}

#define SLAT_INSTANTIATE(Design)                                                                   \
  template Result<std::uintptr_t> AddressSpaceOf<Design>::move(const MoveRequest&);                \
  template Result<std::uintptr_t> AddressSpaceOf<Design>::move_or_resize(const MoveRequest&);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
