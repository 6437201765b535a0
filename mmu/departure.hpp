// Departure: pages on their way out of the guest view, from the notice to their end (I13, I18, I27).
// And PageReservation: pages on their way in.
#pragma once

#include "mmu/address_space.hpp"

#include <optional>

namespace slat::mmu {

/// If it is dropped before free(), the range ends and the pages keep their data. Nothing happens at
/// all if there are no views.
class Departure {
 public:
  /// The VMAs of `views` are write-locked. Throws std::bad_alloc, which nothing else here does.
  Departure(AddressSpace& mm, const VmaViews& views) : mm_(&mm), views_(&views) {
    if (views.empty()) return;
    gather_.emplace(mm.flushers_, *mm.counters_, views.front().start, views.back().end);
    gather_->expect(views.size());
  }

  ~Departure() {
    if (gather_) gather_->flush().keep();
  }

  Departure(const Departure&) = delete;
  Departure& operator=(const Departure&) = delete;

  /// Subscribers are told; faults that had a page locked or were filling it are waited for. Sleeps.
  void begin(InvalidateEvent event) {
    if (!gather_) return;
    scope_.emplace(
        mm_->notifiers_.invalidate_range({views_->front().start, views_->back().end, event}));
    AddressSpace::wait_for_page_owners(*views_, true, PageBits::installed);
  }

  /// The host view of them is gone: flush, free, end of the range.
  void free() {
    if (!gather_) return;
    for (const VmaView& view : *views_) gather_->add(*view.backing, view.pages());
    gather_->flush().free();
    gather_.reset();
    scope_->end();
  }

  /// The VMAs are gone too.
  void unreserve() {
    for (const VmaView& view : *views_) view.backing->unreserve_pages(view.pages());
  }

 private:
  AddressSpace* mm_;
  const VmaViews* views_;
  std::optional<NotifierChain::Scope> scope_; // before gather_: the flush comes inside the range
  std::optional<MmuGather> gather_;
};

/// Pages of a backing that are to be mapped; given back unless kept.
class PageReservation {
 public:
  PageReservation(Backing& backing, PageRun run)
      : backing_(&backing), run_(run), outcome_(backing.reserve_pages(run)) {}

  ~PageReservation() {
    if (outcome_ && !kept_) backing_->unreserve_pages(run_);
  }

  PageReservation(const PageReservation&) = delete;
  PageReservation& operator=(const PageReservation&) = delete;

  Result<void>& outcome() { return outcome_; }

  void keep() { kept_ = true; }

 private:
  Backing* backing_;
  PageRun run_;
  Result<void> outcome_;
  bool kept_ = false;
};

} // namespace slat::mmu
