// Departure: translations on their way out, and pages with them, from the notice to their end (I13,
// I18, I27).
// And PageReservation: pages on their way in.
#pragma once

#include "mmu/address_space.hpp"

#include <optional>

namespace slat::mmu {

/// If it is dropped before free(), the range ends and the pages keep their data. It must go after the
/// operation's HostJournal, so stands before it: until the host's mappings are as they were, an access
/// of a guest that fails has a range in progress to blame.
class Departure {
 public:
  explicit Departure(AddressSpace& mm) : mm_(&mm) {}

  ~Departure() {
    if (gather_) gather_->flush().keep();
  }

  Departure(const Departure&) = delete;
  Departure& operator=(const Departure&) = delete;

  enum class Fills { wait_for, let_go_on }; // of pages that stay, nobody minds

  /// Subscribers are told; faults that had a page locked, or were filling it, are waited for. The VMAs
  /// of `views` are write-locked; if there are none, nothing happens here and later. Sleeps. Throws
  /// std::bad_alloc with nothing begun, which nothing else here does. Once.
  void begin(const VmaViews& views, InvalidateEvent event, Fills fills) {
    views_ = &views;
    if (views.empty()) return;
    const std::uintptr_t start = views.front().start;
    const std::uintptr_t end = views.back().end;
    gather_.emplace(mm_->flushers_, *mm_->counters_, start, end, views.size());
    scope_.emplace(mm_->notifiers_.invalidate_range({start, end, event}));
    AddressSpace::wait_for_page_owners(views, fills == Fills::wait_for, PageBits::installed);
  }

  /// The guest view of them is gone: flush, free, end of the range.
  void free(FlushedPages::Content content = FlushedPages::Content::unmapped) {
    free_after([] {}, content);
  }

  /// The same; `move()` is called when nobody can reach the pages any more, and they are still there. It must
  /// not fail.
  template <class Move>
  void free_after(Move move, FlushedPages::Content content = FlushedPages::Content::unmapped) {
    if (!gather_) return;
    for (const VmaView& view : *views_) gather_->add(*view.backing, view.pages());
    FlushedPages flushed = gather_->flush();
    move();
    flushed.free(content);
    end();
  }

  /// The same for pages that keep their data.
  void keep() {
    if (!gather_) return;
    gather_->flush().keep();
    end();
  }

  /// The VMAs are gone too.
  void unreserve() {
    for (const VmaView& view : *views_) view.backing->unreserve_pages(view.pages());
  }

 private:
  void end() {
    gather_.reset();
    scope_->end();
  }

  AddressSpace* mm_;
  const VmaViews* views_ = nullptr;
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
