// Making and ending address spaces, mapping and unmapping.
//
// Every operation has the same shape. What may fail comes first, and is taken back by destructors:
// the plan (VmaChange::prepare), the pages (Backing::reserve_pages), the host's mappings
// (HostJournal). What cannot fail comes last: flush, free, end of the range, commit, keep.
#include "mmu/address_space_of.hpp"
#include "mmu/departure.hpp"
#include "mmu/vma_lock/all_designs.hpp"

#include <bit>
#include <fmt/format.h>

namespace slat::mmu {

namespace {

Result<void> check_map(const MapRequest& request) {
  if (auto ok = check_range(request.address, request.length); !ok) return ok;
  if (request.backing == nullptr || request.pgoff > request.backing->pages() ||
      (request.length >> page_shift) > request.backing->pages() - request.pgoff)
    return fail(Errc::invalid_argument, 0, "a mapping reaches beyond its backing");
  if (request.alignment < page_size || !std::has_single_bit(request.alignment))
    return fail(Errc::invalid_argument, 0,
                fmt::format("{} is not a usable alignment", request.alignment));
  if ((request.flags & ~vm_access_flags) != 0)
    return fail(Errc::invalid_argument, 0, "a mapping is locked by lock(), not by its flags");
  return {};
}

} // namespace

Result<void> check_range(std::uintptr_t address, std::uint64_t length) {
  if (address % page_size != 0 || length % page_size != 0 || length == 0 ||
      address + length < address)
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("[{:#x}, +{:#x}) is not a page-aligned, non-empty range", address, length));
  return {};
}

Result<std::unique_ptr<AddressSpace>> AddressSpace::create(const AddressSpaceOptions& options,
                                                           Counters& counters) {
  if (options.window % page_size != 0)
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("a window of {} bytes is not a multiple of the page size", options.window));
  HostWindow window;
  if (options.window != 0) {
    constexpr std::size_t huge_page = std::size_t(1) << 21;
    auto start = host::reserve(0, options.window, huge_page);
    if (!start) return forward(start);
    window = {*start, *start + options.window};
  }
  auto mm = no_throw([&]() -> Result<std::unique_ptr<AddressSpace>> {
    switch (options.vma_lock) {
#define SLAT_MAKE(Design)                                                                          \
  case Design::kind:                                                                               \
    return std::make_unique<AddressSpaceOf<Design>>(options, counters, window);
      SLAT_FOR_EACH_DESIGN(SLAT_MAKE)
#undef SLAT_MAKE
    default:
      return fail(Errc::invalid_argument, 0, "no such design of VMA locks");
    }
  });
  if (!mm && options.window != 0) (void)host::unmap(window.start, options.window);
  return mm;
}

template <class D> AddressSpaceOf<D>::~AddressSpaceOf() {
  notifiers_.release();
  {
    const WriteGuard guard(design_);
    std::vector<Vma*> vmas;
    design_.tree.for_each(0, ~std::uintptr_t(0),
                          [&](const auto& entry) { vmas.push_back(entry.value); });
    for (Vma* vma : vmas) {
      design_.vma_start_write(*vma);
      const VmaView view = vma->view();
      wait_for_page_owners({view}, true, PageBits::installed);
      // What is in the window goes with it: in a hole there the host would place somebody else's.
      window_.each_outside(view.start, view.end, [](std::uintptr_t from, std::uintptr_t to) {
        SLAT_CHECK(host::unmap(from, to - from).has_value(), "munmap of a whole VMA failed");
      });
    }
    design_.tree.clear();
    for (Vma* vma : vmas) {
      design_.vma_mark_detached(*vma);
      const VmaView view = vma->view();
      view.backing->unreserve_pages(view.pages());
      design_.release(*vma);
    }
    if (window_.start != window_.end) (void)host::unmap(window_.start, window_.end - window_.start);
  }
  fault_srcu_.barrier();
}

void AddressSpace::wait_for_page_owners(const VmaViews& views, bool fillers_too,
                                        std::uint64_t clear) {
  // The invalidator's half of install.hpp: the range's begin() has fenced, so a fault that locks a
  // page from now on sees the range; those that locked one before are waited for. New fills cannot
  // begin: the VMA is write-locked, and a speculative claim does not commit.
  for (const VmaView& view : views) {
    const PageRun run = view.pages();
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page) {
      PageWord& word = view.backing->word(page);
      const PageBits bits = word.read();
      const bool owned = fillers_too ? bits.owned() : bits.has(PageBits::locked);
      if (!owned && ((bits.raw() & clear) == 0 || word.clear_if_unowned(clear))) continue;
      word.lock();
      word.unlock(0, clear);
    }
  }
}

template <class D> Result<void> AddressSpaceOf<D>::check_limits(const Change& change) const {
  const auto over = [](std::uint64_t limit, std::uint64_t now, std::uint64_t more,
                       std::uint64_t less) {
    return limit != 0 && more > less && now + more - less > limit;
  };
  const auto count = [&](std::uint32_t flag, const VmaViews& views) {
    return bytes_with(views, flag);
  };
  if (over(options_.commit_limit, usage_.committed_bytes, count(vm_write, change.after()),
           count(vm_write, change.before())))
    return fail(
        Errc::no_memory, ENOMEM,
        fmt::format("more than {} bytes would be mapped for writing (raise the commit limit)",
                    options_.commit_limit));
  if (over(options_.locked_limit, usage_.locked_bytes, count(vm_locked, change.after()),
           count(vm_locked, change.before())))
    return fail(Errc::no_memory, ENOMEM,
                fmt::format("more than {} bytes would be locked (raise the limit of locked bytes)",
                            options_.locked_limit));
  return {};
}

template <class D> void AddressSpaceOf<D>::commit(Change& change) {
  const auto apply = [&](std::uint64_t& total, std::uint32_t flag) {
    total += bytes_with(change.after(), flag);
    total -= bytes_with(change.before(), flag);
  };
  apply(usage_.mapped_bytes, vm_none);
  apply(usage_.committed_bytes, vm_write);
  apply(usage_.locked_bytes, vm_locked);
  change.commit();
}

template <class D>
Result<std::uintptr_t> AddressSpaceOf<D>::choose_place(const MapRequest& request) {
  if (request.address != 0) return request.address;
  if (window_.start == window_.end) return 0;
  auto gap = design_.tree.find_gap(window_.start, window_.end, request.length, request.alignment);
  if (!gap)
    return fail(Errc::no_memory, ENOMEM,
                fmt::format("no gap of {} bytes is left in the window of {} bytes", request.length,
                            window_.end - window_.start));
  return *gap;
}

template <class D> Result<std::uintptr_t> AddressSpaceOf<D>::map(const MapRequest& request) {
  if (auto ok = check_map(request); !ok) return forward(ok);
  return no_throw([&]() -> Result<std::uintptr_t> {
    const WriteGuard guard(design_);
    return map_locked(request);
  });
}

template <class D> Result<std::uintptr_t> AddressSpaceOf<D>::map_locked(const MapRequest& request) {
  auto place = choose_place(request);
  if (!place) return place;
  Departure departure(*this);
  HostJournal journal(window_, options_.guard);
  journal.expect(1);
  if (*place == 0) place = journal.reserve(request.length, request.alignment);
  if (!place) return place;
  const VmaView fresh{*place, *place + request.length, request.pgoff, request.flags,
                      request.backing};

  Change change(design_);
  change.include(fresh.start, fresh.end, Neighbours::include);
  const VmaViews victims = inside(change.before(), fresh.start, fresh.end);
  if (!victims.empty() && !request.replace)
    return fail(Errc::exists, 0,
                fmt::format("guest memory is mapped at {:#x} already", victims.front().start));
  PageReservation pages(*request.backing, fresh.pages());
  if (!pages.outcome()) return forward(pages.outcome());
  if (auto ready = change.prepare(
          coalesced(put(cut(change.before(), fresh.start, fresh.end), fresh)), options_.vma_limit);
      !ready)
    return forward(ready);
  if (auto allowed = check_limits(change); !allowed) return forward(allowed);
  journal.expect(2 * victims.size() + 3);
  departure.begin(victims, InvalidateEvent::unmap, Departure::Fills::wait_for);
  if (auto taken = journal.unmap(victims); !taken) return forward(taken);
  if (request.address != 0)
    if (auto free = journal.reserve_between(victims, fresh.start, fresh.end); !free)
      return forward(free);
  if (auto mapped = journal.map(fresh); !mapped) return forward(mapped);

  departure.free();
  commit(change);
  departure.unreserve();
  pages.keep();
  journal.keep();
  return fresh.start;
}

template <class D>
Result<void> AddressSpaceOf<D>::unmap(std::uintptr_t address, std::uint64_t length) {
  if (auto ok = check_range(address, length); !ok) return ok;
  return no_throw([&]() -> Result<void> {
    const WriteGuard guard(design_);
    return unmap_locked(address, address + length);
  });
}

template <class D>
Result<void> AddressSpaceOf<D>::unmap_locked(std::uintptr_t start, std::uintptr_t end) {
  Change change(design_);
  change.include(start, end, Neighbours::leave);
  const VmaViews gone = inside(change.before(), start, end);
  if (gone.empty()) return {};
  if (auto ready = change.prepare(cut(change.before(), start, end), options_.vma_limit); !ready)
    return ready;
  Departure departure(*this);
  HostJournal journal(window_, options_.guard);
  journal.expect(gone.size());
  departure.begin(gone, InvalidateEvent::unmap, Departure::Fills::wait_for);
  if (auto unmapped = journal.unmap_at_last(gone); !unmapped) return unmapped;
  departure.free();
  commit(change);
  departure.unreserve();
  journal.keep();
  return {};
}

template <class D>
Result<VmaViews> AddressSpaceOf<D>::all_mapped(std::uintptr_t start, std::uintptr_t end) {
  VmaViews views;
  design_.tree.for_each(start, end,
                        [&](const auto& entry) { views.push_back(entry.value->view()); });
  const std::uintptr_t hole = first_hole(views, start, end);
  if (hole != end)
    return fail(Errc::not_mapped, 0, fmt::format("nothing is mapped at {:#x}", hole));
  return inside(views, start, end);
}

template <class D> VmaViews AddressSpaceOf<D>::vmas() {
  const MmReadGuard guard(design_.mm_lock);
  VmaViews views;
  design_.tree.for_each(0, ~std::uintptr_t(0),
                        [&](const auto& entry) { views.push_back(entry.value->view()); });
  return views;
}

template <class D> MemoryUsage AddressSpaceOf<D>::usage() {
  const MmReadGuard guard(design_.mm_lock);
  MemoryUsage usage = usage_;
  std::vector<Backing*> backings;
  design_.tree.for_each(0, ~std::uintptr_t(0),
                        [&](const auto& entry) { backings.push_back(entry.value->vm_backing); });
  usage.vmas = backings.size();
  std::sort(backings.begin(), backings.end());
  backings.erase(std::unique(backings.begin(), backings.end()), backings.end());
  for (const Backing* backing : backings)
    usage.resident_bytes += backing->resident_pages() << page_shift;
  return usage;
}

std::size_t live_vmas(VmaLockDesign design) {
  switch (design) {
#define SLAT_COUNT(Design)                                                                         \
  case Design::kind:                                                                               \
    return Design::live();
    SLAT_FOR_EACH_DESIGN(SLAT_COUNT)
#undef SLAT_COUNT
  }
  return 0;
}

#define SLAT_INSTANTIATE(Design) template class AddressSpaceOf<Design>;
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
