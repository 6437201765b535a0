// Step by step. Nothing sleeps under a VMA lock, and nothing is installed without the
// check under the page lock that no range in progress covers it and none has ended since step 2.
#include "mmu/fault.hpp"

#include "mmu/address_space_of.hpp"
#include "mmu/vma_lock/all_designs.hpp"
#include "mmu/zero_source.hpp"

#include <algorithm>
#include <cstring>

namespace slat::mmu {

namespace {

/// One attempt. Its SRCU section keeps the backing alive after the VMA lock is dropped; waits
/// happen inside it.
template <class D> class Attempt {
 public:
  struct Hints {
    bool alone = false;      // leave the neighbours out
    bool by_mm_lock = false; // speculation has failed: look the VMA up under the mm lock
    unsigned gone = 0;       // how often the secondary MMU knew of no mapping
  };

  Attempt(AddressSpace& mm, D& design, const FaultRequest& request, Hints& hints)
      : mm_(mm), design_(design), request_(request), hints_(hints), section_(mm.fault_srcu()),
        page_address_(request.address & ~(page_size - 1)) {}

  FaultResult run() {
    // Step 2. Before anything is resolved (I21).
    snapshot_ = mm_.notifiers().sequence().snapshot();

    // Step 3. No mm-wide lock; only if that fails, by way of the mm read lock.
    VmaTicket ticket;
    if (!hints_.by_mm_lock) ticket = design_.begin(request_.address);
    if (!ticket && D::lockless) {
      if (!hints_.by_mm_lock) mm_.counters().add(Counter::vma_lock_miss_count);
      mm_.counters().add(Counter::mm_lock_fallback_count);
      ticket = design_.begin_locked(request_.address);
    }
    if (!ticket) return FaultResult::no_vma;

    // Step 4. From here on by the ticket's copy; the VMA may be gone when it is needed again.
    const VmaView vma = ticket.view;
    if ((vma.flags & request_.access) != request_.access) {
      design_.end(ticket);
      return FaultResult::denied;
    }
    backing_ = vma.backing;
    page_ = vma.page_of(page_address_);
    writable_ = (vma.flags & vm_write) != 0;
    set_window(vma);
    PageState was{};
    switch (backing_->word(page_).claim_fill(was)) {
    case FillClaim::busy:
      design_.end(ticket);
      return FaultResult::wait;
    case FillClaim::poisoned:
      design_.end(ticket);
      return FaultResult::poisoned;
    case FillClaim::claimed:
      // The claim is the page lock under which a speculation commits (I14). Whoever changes the VMA
      // from now on waits for the claim.
      if (!design_.commit(ticket)) {
        backing_->word(page_).finish_fill(was);
        design_.end(ticket);
        mm_.counters().add(Counter::vma_commit_failed_count);
        hints_.by_mm_lock = true;
        return FaultResult::retry;
      }
      if (const FaultResult filled =
              was == PageState::reclaimed ? restore(ticket) : fill(ticket, was);
          filled != FaultResult::done)
        return filled;
      break;
    case FillClaim::present:
      design_.end(ticket);
      break;
    }

    // Step 7. The VMA lock is dropped; the sequence tells whether that mattered.
    return request_.mmu == nullptr ? FaultResult::done : install();
  }

  /// Drops nothing, for nothing is held: sleeps until what was in the way is gone.
  void wait() {
    InvalidateSeq& sequence = mm_.notifiers().sequence();
    if (sequence.in_progress(page_address_, page_address_ + page_size))
      sequence.wait(page_address_, page_address_ + page_size);
    else
      backing_->word(page_).wait_unowned();
  }

  [[nodiscard]] PageRun installed() const { return installed_; }

  [[nodiscard]] std::uintptr_t address_of(std::uint64_t page) const {
    return page_address_ + ((page - page_) << page_shift); // wraps back for pages below
  }

 private:
  static constexpr unsigned most_gone = 16;

  void set_window(const VmaView& vma) {
    window_first_ = page_;
    window_last_ = page_ + 1;
    if (hints_.alone || request_.around_end <= page_address_ ||
        request_.around_start > page_address_)
      return;
    window_first_ = vma.page_of(std::max(request_.around_start, vma.start));
    window_last_ = vma.page_of(std::min(request_.around_end, vma.end) - 1) + 1;
  }

  /// Steps 5 and 6, with the VMA read lock, which it drops, and the page claimed.
  FaultResult fill(VmaTicket& ticket, PageState was) {
    // Neighbours only if they are empty: they are all alike, and are put back as they were if it
    // comes to that.
    PageRun run{page_, 1};
    while (run.first > window_first_ && claim_empty(run.first - 1)) --run.first, ++run.count;
    while (run.first + run.count < window_last_ && claim_empty(run.first + run.count)) ++run.count;
    // What held for the page need not hold for pages that were claimed later (I14): somebody may have unmapped a
    // neighbour in between, found nobody there to wait for, and be gone.
    if (run.count > 1 && !design_.commit(ticket)) {
      finish_neighbours(run, PageState::none);
      run = {page_, 1};
      mm_.counters().add(Counter::vma_commit_failed_count);
    }

    PageSource& source = backing_->source();
    const bool slept = source.may_sleep();
    if (slept) design_.end(ticket);
    FillResult result = source.fill(*backing_, run);
    if (result != FillResult::filled && run.count > 1) {
      // A neighbour's trouble must not become this page's.
      finish_neighbours(run, PageState::none);
      run = {page_, 1};
      result = source.fill(*backing_, run);
    }
    // Published before the VMA is looked at again, not after: an unmapper that holds it
    // write-locked waits for this page, and zaps and frees it then; to wait for the VMA first would
    // be a deadlock (I13).
    const PageState to = result == FillResult::filled   ? PageState::present
                         : result == FillResult::failed ? PageState::poisoned
                                                        : was;
    if (result == FillResult::filled) {
      backing_->add_resident(std::int64_t(run.count));
      finish_neighbours(run, PageState::present);
    }
    backing_->word(page_).finish_fill(to);
    if (!slept) design_.end(ticket);

    switch (result) {
    case FillResult::failed:
      mm_.counters().add(Counter::poisoned_pages);
      return FaultResult::poisoned; // and never zeroes (I41)
    case FillResult::no_memory:
      return FaultResult::no_memory;
    case FillResult::filled:
      break;
    }
    mm_.counters().add(Counter::filled_pages, run.count);
    // Whoever slept knows nothing of the VMA any more: from the top, where the page is now present.
    return slept ? FaultResult::retry : FaultResult::done;
  }

  /// The same for a reclaimed page, which comes back from the backing's store: alone, and as from a source
  /// that sleeps.
  FaultResult restore(VmaTicket& ticket) {
    design_.end(ticket);
    PageWord& word = backing_->word(page_);
    PageStore& store = *backing_->store();
    const std::uint32_t slot = word.read().slot(); // the claimer's: nobody else frees it
    // By way of a copy: a page that is not to be had stays a hole, whatever the store has written by then.
    alignas(64) std::byte bytes[page_size];
    FillResult result = store.load(slot, bytes);
    // Memory first, or where the host has none the copy is a SIGBUS. Nothing is lost then.
    if (result == FillResult::filled &&
        ZeroSource().fill(*backing_, {page_, 1}) != FillResult::filled)
      result = FillResult::no_memory;
    switch (result) {
    case FillResult::filled:
      std::memcpy(backing_->host_view(page_), bytes, page_size);
      backing_->add_resident(1);
      word.finish_fill(PageState::present);
      store.drop(slot); // once the word names it no more
      mm_.counters().add(Counter::restored_pages);
      return FaultResult::retry;
    case FillResult::no_memory:
      word.finish_fill(PageState::reclaimed);
      return FaultResult::no_memory;
    case FillResult::failed:
      break;
    }
    word.finish_fill(PageState::poisoned); // and never zeroes (I41)
    store.drop(slot);
    mm_.counters().add(Counter::poisoned_pages);
    return FaultResult::poisoned;
  }

  bool claim_empty(std::uint64_t page) {
    PageWord& word = backing_->word(page);
    PageState was{};
    if (word.read().state() != PageState::none || word.claim_fill(was) != FillClaim::claimed)
      return false;
    if (was == PageState::none) return true;
    word.finish_fill(was); // reclaimed in between: not for us
    return false;
  }

  void finish_neighbours(PageRun run, PageState to) {
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      if (page != page_) backing_->word(page).finish_fill(to);
  }

  /// Two phases around a system call: the page locks are the FROZEN entries of install.hpp.
  FaultResult install() {
    const auto locked = backing_->word(page_).try_lock_present();
    if (!locked)
      return backing_->word(page_).read().owned() ? FaultResult::wait : FaultResult::retry;
    protect_ = false;
    if (locked->has(PageBits::write_tracked)) { // by now a device may have cleared it: no harm
      if ((request_.access & vm_write) == 0 && request_.mmu->can_write_protect())
        protect_ = true;
      else // before there is a way to write, for who copies the page and looks afterwards
        forget_tracking();
    }
    PageRun run{page_, 1};
    while (run.first > window_first_ && lock_neighbour(run.first - 1)) --run.first, ++run.count;
    while (run.first + run.count < window_last_ && lock_neighbour(run.first + run.count))
      ++run.count;

    // "Locked, then look for ranges" pairs with "range counted, then look for locked pages": the
    // fence in InvalidateSeq::begin(), and AddressSpace::wait_for_page_owners().
    StdAtomics::fence_after_rmw();
    Staleness staleness = stale(run);
    if (staleness == Staleness::in_progress && run.count > 1) {
      unlock_neighbours(run, 0);
      run = {page_, 1};
      staleness = stale(run);
    }
    if (staleness != Staleness::fresh) {
      unlock(run, 0);
      return staleness == Staleness::moved ? FaultResult::retry : FaultResult::wait;
    }

    const bool writable = writable_ && !protect_;
    const InstallResult result = request_.mmu->install(
        {address_of(run.first), backing_->host_view(run.first), run.count, writable});
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page) {
      const bool mapped = page < run.first + result.pages ||
                          (page == run.first && result.status == InstallStatus::already_installed);
      const std::uint64_t flags = PageBits::installed | (writable ? PageBits::dirty : 0);
      backing_->word(page).unlock((mapped ? flags : 0) | (page == page_ ? PageBits::accessed : 0));
    }
    installed_ = {run.first, result.pages};
    mm_.counters().add(Counter::installed_pages, result.pages);
    if (page_ < run.first + result.pages) {
      if (result.pages > 1) mm_.counters().add(Counter::fault_around_pages, result.pages - 1);
      return FaultResult::done;
    }
    hints_.alone = true;
    switch (result.status) {
    case InstallStatus::already_installed:
      return page_ == run.first ? FaultResult::done : FaultResult::retry;
    case InstallStatus::installed:
    case InstallStatus::partial:
    case InstallStatus::retry:
      return FaultResult::retry;
    case InstallStatus::gone:
      // Says the host. The map will tell; the host is believed when it says so again and again.
      return ++hints_.gone < most_gone ? FaultResult::retry : FaultResult::no_vma;
    case InstallStatus::no_memory:
      return run.count > 1 ? FaultResult::retry : FaultResult::no_memory;
    case InstallStatus::failed:
      return run.count > 1 ? FaultResult::retry : FaultResult::failed;
    }
    return FaultResult::failed;
  }

  bool lock_neighbour(std::uint64_t page) {
    PageWord& word = backing_->word(page);
    if (word.read().has(PageBits::installed)) return false;
    const auto locked = word.try_lock_present();
    if (!locked) return false;
    if (locked->has(PageBits::write_tracked) == protect_) return true;
    word.unlock(); // one run is installed alike
    return false;
  }

  /// The page is about to be written. It is locked.
  void forget_tracking() {
    backing_->word(page_).clear_flags(PageBits::write_tracked);
    mm_.counters().add(Counter::tracked_write_count);
  }

  [[nodiscard]] Staleness stale(PageRun run) const {
    const std::uintptr_t start = address_of(run.first);
    return mm_.notifiers().sequence().stale(snapshot_, start, start + (run.count << page_shift));
  }

  void unlock(PageRun run, std::uint64_t set) {
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      backing_->word(page).unlock(set);
  }

  void unlock_neighbours(PageRun run, std::uint64_t set) {
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      if (page != page_) backing_->word(page).unlock(set);
  }

  AddressSpace& mm_;
  D& design_;
  const FaultRequest& request_;
  Hints& hints_;
  Srcu::ReadGuard section_;
  const std::uintptr_t page_address_;
  std::uint64_t snapshot_ = 0;
  Backing* backing_ = nullptr;
  std::uint64_t page_ = 0;
  std::uint64_t window_first_ = 0;
  std::uint64_t window_last_ = 0;
  bool writable_ = false;
  bool protect_ = false; // not to be written unnoticed: address_space_track.cpp
  PageRun installed_{0, 0};
};

} // namespace

template <class D> FaultOutcome AddressSpaceOf<D>::handle_fault(const FaultRequest& request) {
  SLAT_ASSERT(page_locks_held() == 0, "a fault is handled with a page lock held");
  typename Attempt<D>::Hints hints;
  for (;;) {
    Attempt<D> attempt(*this, design_, request, hints);
    const FaultResult result = attempt.run();
    if (result == FaultResult::retry) {
      counters_->add(Counter::fault_retry_count);
      before_retry();
    } else if (result == FaultResult::wait) {
      counters_->add(Counter::fault_wait_count);
      attempt.wait();
    } else {
      if (result == FaultResult::done) counters_->add(Counter::fault_count);
      const PageRun run = attempt.installed();
      if (run.count == 0) return {result, 0, 0};
      const std::uintptr_t start = attempt.address_of(run.first);
      return {result, start, start + (run.count << page_shift)};
    }
  }
}

FaultOutcome handle_mm_fault(AddressSpace& mm, const FaultRequest& request) {
  return mm.handle_fault(request);
}

#define SLAT_INSTANTIATE(Design)                                                                   \
  template FaultOutcome AddressSpaceOf<Design>::handle_fault(const FaultRequest&);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

std::string_view to_string(FaultResult result) {
  switch (result) {
  case FaultResult::done:
    return "done";
  case FaultResult::retry:
    return "retry";
  case FaultResult::wait:
    return "wait";
  case FaultResult::no_vma:
    return "nothing is mapped there";
  case FaultResult::denied:
    return "the mapping does not allow the access";
  case FaultResult::poisoned:
    return "the page is poisoned: its source failed";
  case FaultResult::no_memory:
    return "the host is out of memory";
  case FaultResult::failed:
    return "the page could not be installed";
  }
  return "?";
}

} // namespace slat::mmu
