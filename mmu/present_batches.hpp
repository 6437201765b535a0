// What those have in common who change pages with neither the mm lock nor a VMA lock, under page locks alone
// (reclaim, write tracking): present pages, in batches of one VMA each, and the locks of a batch.
#pragma once

#include "mmu/address_space_of.hpp"

#include <algorithm>
#include <bit>
#include <type_traits>

namespace slat::mmu {

/// visit(first, count) for each run of bits, until one fails.
template <class Visit> auto each_run(std::uint64_t mask, Visit visit) -> decltype(visit(0u, 0u)) {
  while (mask != 0) {
    const unsigned first = unsigned(std::countr_zero(mask));
    const unsigned count = unsigned(std::countr_one(mask >> first));
    if constexpr (std::is_void_v<decltype(visit(0u, 0u))>) {
      visit(first, count);
    } else if (auto done = visit(first, count); !done) {
      return done;
    }
    mask = first + count == 64 ? 0 : mask >> (first + count) << (first + count);
  }
  return decltype(visit(0u, 0u))();
}

/// Present pages of a batch, locked by this thread. What is still locked at the end is unlocked.
class LockedPages {
 public:
  static constexpr std::uint64_t max = 64;

  /// `batch` has at most `max` pages, and outlives this.
  explicit LockedPages(const VmaView& batch) : batch_(batch) {}

  ~LockedPages() {
    // They may have been zapped meanwhile: then the hint is wrong.
    unlock(0, PageBits::installed);
  }

  LockedPages(const LockedPages&) = delete;
  LockedPages& operator=(const LockedPages&) = delete;

  /// Those that are present and that nobody owns. Does not sleep.
  void try_lock() {
    for (unsigned i = 0; i < batch_.pages().count; ++i)
      if (word(i).try_lock_present()) mask_ |= std::uint64_t(1) << i;
  }

  void unlock(std::uint64_t set, std::uint64_t clear) {
    for (; mask_ != 0; mask_ &= mask_ - 1)
      word(unsigned(std::countr_zero(mask_))).unlock(set, clear);
  }

  /// The word of a locked page, whose lock is the caller's from now on.
  [[nodiscard]] PageWord& let_go(unsigned i) {
    mask_ &= ~(std::uint64_t(1) << i);
    return word(i);
  }

  [[nodiscard]] PageWord& word(unsigned i) const { return batch_.backing->word(batch_.pgoff + i); }

  /// A bit for each page of the batch.
  [[nodiscard]] std::uint64_t mask() const { return mask_; }

 private:
  const VmaView& batch_;
  std::uint64_t mask_ = 0;
};

/// Does `now` still map all of `batch`, to the same pages?
inline bool maps_the_same(const VmaView& now, const VmaView& batch) {
  return now.contains(batch.start) && batch.end <= now.end && now.backing == batch.backing &&
         now.page_of(batch.start) == batch.pgoff;
}

/// From the first to the last present page of `part`, LockedPages::max at most; empty if none is.
inline VmaView present_batch(const VmaView& part) {
  const auto present = [&](std::uint64_t page) {
    return part.backing->word(page).read().state() == PageState::present;
  };
  std::uint64_t first = part.pgoff;
  std::uint64_t last = part.pgoff + part.pages().count;
  while (first < last && !present(first)) ++first;
  last = std::min(last, first + LockedPages::max);
  while (first < last && !present(last - 1)) --last;
  VmaView batch = part;
  batch.start += (first - part.pgoff) << page_shift;
  batch.end = batch.start + ((last - first) << page_shift);
  batch.pgoff = first;
  return batch;
}

/// The view of the first VMA that ends after `address`.
template <class D> std::optional<VmaView> AddressSpaceOf<D>::first_vma(std::uintptr_t address) {
  if (const VmaTicket ticket = design_.begin(address)) {
    const VmaView view = ticket.view;
    design_.end(ticket);
    return view;
  }
  const MmReadGuard guard(design_.mm_lock);
  const auto entry = design_.tree.first_from(address);
  if (entry.value == nullptr) return std::nullopt;
  return entry.value->view();
}

/// visit(batch) -> Result<bool> for the present pages of [start, end), ascending, until it fails or gives
/// false; each time in a section of its own of fault_srcu(), which keeps the backing (grace periods are for
/// others). The VMA is not held: what the batch says may be over.
template <class D>
template <class Visit>
Result<void> AddressSpaceOf<D>::each_present_batch(std::uintptr_t start, std::uintptr_t end,
                                                   Visit visit) {
  for (std::uintptr_t at = start; at < end;) {
    const Srcu::ReadGuard section(fault_srcu_);
    const auto vma = first_vma(at);
    if (!vma || vma->start >= end) break;
    const VmaView part = vma->clipped(at, end);
    const VmaView batch = present_batch(part);
    at = batch.start == batch.end ? part.end : batch.end;
    if (batch.start == batch.end) continue;
    Result<bool> go_on = visit(batch);
    if (!go_on) return forward(go_on);
    if (!*go_on) break;
  }
  return {};
}

/// Looks the VMA of `batch` up again, without sleeping, and locks the pages that are present: those of `batch`,
/// if it is still what is mapped there and `good(view)`. False if not: then nothing is locked.
///
/// Why the map does not change under them: unmap, move, remove, protect write-lock the VMA first and wait for
/// owned pages later. Where the VMA is held by a lock, page locks are taken before its release, and so before
/// the writer's turn; the writer finds the pages locked. Where it is speculation, "lock the page, fence, look at
/// vm_sequence" in commit() is the fault's half of I14. So what is locked here is mapped here until it is unlocked.
template <class D>
template <class Good>
bool AddressSpaceOf<D>::lock_batch(const VmaView& batch, LockedPages& pages, Good good) {
  const VmaTicket ticket = design_.try_begin(batch.start);
  if (!ticket) return false;
  const bool same = maps_the_same(ticket.view, batch) && good(ticket.view);
  if (same) pages.try_lock();
  const bool committed = same && design_.commit(ticket);
  design_.end(ticket);
  if (same && !committed) pages.unlock(0, 0);
  return committed;
}

} // namespace slat::mmu
