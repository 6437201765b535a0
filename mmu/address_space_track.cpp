// Write tracking: which pages have not been written since. For snapshots, live migration and dirty rates: protect,
// copy at leisure, and know of each page whether its copy is still the page. With neither the mm lock nor a VMA lock
// held, as reclaim (present_batches.hpp).
//
// PageBits::write_tracked says of a present page: nobody has a way to write to it, and nobody has written since
// track_writes(). Who sets and clears it:
//   set      track_batch(), under the page lock, inside a range, when every way to write is gone (below)
//   cleared  by a fault for writing, under the page lock, before it installs a way to write (fault.cpp);
//            by a pin for writing, before it is used (translation_cache.cpp);
//            by move, whose mremap forgets the host's protection; with the content (PageWord::unlock_empty);
//            by untrack_writes()
// A protection that is left behind by a cleared flag is harmless: the next write faults, and is let through.
//
// track_batch():
//   1  invalidate_range_start(write_protect): our stage-2 write-protects, pins drain, and none comes back before
//      the end. KVM's follows the host's view, see 4
//   2  wait for installs under way, flush TLBs
//   3  lock the pages that are present, if the VMA is still what it was
//   4  the host's view is write-protected, by the guard of the view (userfaultfd). From here on nobody can write:
//      an install needs the page lock, a pin the end of the range
//   5  unlock, with the flag; end of the range
// An install for reading that comes later finds the flag under the page lock, and installs read-only.
//
// read_unwritten() copies under the page lock, so that no install is half-way: with the flag set there is no
// way to write but a pin's. "Copy, fence, look at the flag again" pairs with "clear the flag, fence, write" of a pin.
#include "mmu/present_batches.hpp"
#include "mmu/shared_copy.hpp"
#include "mmu/vma_lock/all_designs.hpp"
#include "mmu/write_tracking.hpp"

namespace slat::mmu {

template <class D> Result<std::uint64_t> AddressSpaceOf<D>::track_batch(const VmaView& batch) {
  const VmaViews views{batch};
  const auto range =
      notifiers_.invalidate_range({batch.start, batch.end, InvalidateEvent::write_protect}); // 1, 5
  wait_for_page_owners(views, false, 0);                                                     // 2
  MmuGather(flushers_, *counters_, batch.start, batch.end).flush().keep();
  LockedPages pages(batch); // goes before the range
  if (!lock_batch(batch, pages, [](const VmaView&) { return true; })) return 0; // 3
  if (options_.guard != nullptr) {
    auto protected_by_host = each_run(pages.mask(), [&](unsigned first, unsigned count) {
      return options_.guard->write_protect(batch.start + (first << page_shift),
                                           std::size_t(count) << page_shift, true); // 4
    });
    if (!protected_by_host) return forward(protected_by_host);
  }
  const auto count = std::uint64_t(std::popcount(pages.mask()));
  pages.unlock(PageBits::write_tracked, 0); // 5
  counters_->add(Counter::write_tracked_pages, count);
  return count;
}

template <class D>
Result<std::uint64_t> AddressSpaceOf<D>::track_writes(std::uintptr_t address,
                                                      std::uint64_t length) {
  if (auto ok = check_range(address, length); !ok) return forward(ok);
  SLAT_ASSERT(page_locks_held() == 0 && !notifiers_.inside_call(),
              "writes are tracked inside a range, or with a page lock held");
  return no_throw([&]() -> Result<std::uint64_t> {
    std::uint64_t pages = 0;
    auto done =
        each_present_batch(address, address + length, [&](const VmaView& batch) -> Result<bool> {
          auto tracked = track_batch(batch);
          if (!tracked) return forward(tracked);
          pages += *tracked;
          return true;
        });
    if (!done) return forward(done);
    return pages;
  });
}

template <class D>
Result<void> AddressSpaceOf<D>::untrack_writes(std::uintptr_t address, std::uint64_t length) {
  if (auto ok = check_range(address, length); !ok) return ok;
  return no_throw([&]() -> Result<void> {
    return each_present_batch(address, address + length, [&](const VmaView& batch) -> Result<bool> {
      LockedPages pages(batch);
      const bool locked = lock_batch(batch, pages, [](const VmaView&) { return true; });
      std::uint64_t tracked = 0;
      for (unsigned i = 0; i < batch.pages().count; ++i) {
        if (!pages.word(i).read().has(PageBits::write_tracked)) continue;
        tracked |= std::uint64_t(1) << i;
        pages.word(i).clear_flags(PageBits::write_tracked);
      }
      if (!locked || options_.guard == nullptr) return true;
      // Saves a fault for each; under the page lock, or it might undo what another track_writes() does.
      auto permitted = each_run(tracked & pages.mask(), [&](unsigned first, unsigned count) {
        return options_.guard->write_protect(batch.start + (first << page_shift),
                                             std::size_t(count) << page_shift, false);
      });
      if (!permitted) return forward(permitted);
      pages.unlock(0, 0);
      return true;
    });
  });
}

template <class D>
bool AddressSpaceOf<D>::read_unwritten(std::uintptr_t address,
                                       std::span<std::byte, page_size> into) {
  SLAT_ASSERT(address % page_size == 0, "an address of no page");
  const Srcu::ReadGuard section(fault_srcu_);
  const auto vma = first_vma(address);
  if (!vma || !vma->contains(address)) return false;
  const VmaView page = vma->clipped(address, address + page_size);
  LockedPages pages(page);
  if (!lock_batch(page, pages, [](const VmaView&) { return true; }) || pages.mask() == 0)
    return false;
  const bool unwritten = copy_if_unwritten(
      pages.word(0), [&] { copy_from_shared(into, page.backing->host_view(page.pgoff)); });
  pages.unlock(0, 0);
  return unwritten;
}

#define SLAT_INSTANTIATE(Design)                                                                   \
  template Result<std::uint64_t> AddressSpaceOf<Design>::track_writes(std::uintptr_t,              \
                                                                      std::uint64_t);              \
  template Result<void> AddressSpaceOf<Design>::untrack_writes(std::uintptr_t, std::uint64_t);     \
  template bool AddressSpaceOf<Design>::read_unwritten(std::uintptr_t,                             \
                                                       std::span<std::byte, page_size>);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
