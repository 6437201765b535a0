// reclaim: present pages go into a store, their memory goes back to the host. With neither the mm lock
// nor a VMA lock held: page locks alone, and the range that tells faults and devices.
//
// For each batch of pages of one VMA (the numbers are in the code):
//   1  inside a section of fault_srcu(), which keeps the backing: look the VMA up, copy its view, let go
//   2  invalidate_range_start. Subscribers zap, and pins drain (I26); none comes back before the end
//   3  wait for installs under way (AddressSpace::wait_for_page_owners), flush TLBs: from here on no
//      secondary MMU has a translation
//   4  look the VMA up again, without sleeping; try-lock the pages that are present, ascending; commit
//      the ticket; let the VMA go. Not as in 1, or a page busy: left alone
//   5  zap the guest view of the locked pages
//   6  put their bytes into the store
//   7  punch them out of the memfd
//   8  unlock_reclaimed
//   9  invalidate_range_end
//
// Who may change a page meanwhile, and why nobody does:
//   the map   Unmap, move, remove, protect write-lock the VMA first and wait for owned pages later. Where the
//             VMA is held by a lock, page locks taken in 4 come before its release, and so before the
//             writer's turn; the writer finds the pages locked. Where it is speculation, "lock the page,
//             fence, look at vm_sequence" in commit() is the fault's half of I14. So what is locked
//             and was still the VMA's in 4 is mapped here, and only here, until 8.
//             A view that differs from that of 1 was not announced: not the range's, not the pins'.
//   guests    2 and 3 took every translation; an install after them needs the page lock and finds the range
//             in progress: the pair is fence in InvalidateSeq::begin(), fence in the fault's install(). 5 takes
//             the host's page-table entries, which are KVM's; behind the page lock none is made.
//   devices   pins: 2
//   faults    A page that is locked is `busy`. After 8 it may be claimed at once, range or not: by a fault
//             of a device, say, which installs nowhere. So its memory must be gone before (7, then 8), or
//             the punch would hit what the fault has just written.
//
// Page locks are held over system calls, as an install holds them, and over the store's compression. No
// callback runs under them (I24): 2, 3 and 9 are outside. Nothing here sleeps for the mm lock inside the
// range: its holder may be waiting at the notifier chain's gate for a registration that waits for this range.
#include "mmu/present_batches.hpp"
#include "mmu/vma_lock/all_designs.hpp"

#include <array>
#include <bit>
#include <cerrno>
#include <fmt/format.h>

namespace slat::mmu {

namespace {

/// What is locked, on its way into the store.
class Reclaiming {
 public:
  explicit Reclaiming(const VmaView& batch) : batch_(batch), locked_(batch) {}

  LockedPages& locked() { return locked_; }

  Result<void> zap() const {
    return each_run(locked_.mask(), [&](unsigned first, unsigned count) {
      return host::zap(batch_.start + (first << page_shift), std::size_t(count) << page_shift);
    });
  }

  /// Into the store, in order, until it is full. True if all are in.
  [[nodiscard]] bool put() {
    for (std::uint64_t left = locked_.mask(); left != 0; left &= left - 1) {
      const unsigned i = unsigned(std::countr_zero(left));
      const auto slot = store().put(PageBytes(backing().host_view(page(i)), page_size));
      if (!slot) return false;
      slots_[i] = *slot;
      stored_ |= std::uint64_t(1) << i;
    }
    return true;
  }

  /// Gives the memory of what is stored back to the host, and unlocks it; `done` counts those. What the
  /// host does not take stays present.
  Result<void> give_back(std::uint64_t& done) {
    auto given = each_run(stored_, [&](unsigned first, unsigned count) -> Result<void> {
      auto punched = host::punch(backing().fd(), page(first) << page_shift,
                                 std::uint64_t(count) << page_shift);
      if (!punched) return punched;
      backing().add_resident(-std::int64_t(count));
      done += count;
      for (unsigned i = first; i < first + count; ++i) {
        stored_ &= ~(std::uint64_t(1) << i);
        locked_.let_go(i).unlock_reclaimed(slots_[i]);
      }
      return {};
    });
    for (; stored_ != 0; stored_ &= stored_ - 1)
      store().drop(slots_[unsigned(std::countr_zero(stored_))]);
    return given;
  }

 private:
  [[nodiscard]] Backing& backing() const { return *batch_.backing; }

  [[nodiscard]] PageStore& store() const { return *batch_.backing->store(); }

  [[nodiscard]] std::uint64_t page(unsigned i) const { return batch_.pgoff + i; }

  const VmaView& batch_;
  LockedPages locked_;
  std::uint64_t stored_ = 0; // of those, with a slot
  std::array<std::uint32_t, LockedPages::max> slots_;
};

bool may_be_reclaimed(const VmaView& now) {
  return (now.flags & vm_locked) == 0;
}

} // namespace

/// Steps 2 to 9.
template <class D> Result<Reclaimed> AddressSpaceOf<D>::reclaim_batch(const VmaView& batch) {
  const VmaViews views{batch};
  const auto range =
      notifiers_.invalidate_range({batch.start, batch.end, InvalidateEvent::reclaim}); // 2, 9
  wait_for_page_owners(views, false, PageBits::installed);                             // 3
  MmuGather(flushers_, *counters_, batch.start, batch.end).flush().keep();
  Reclaiming pages(batch);                                             // goes before the range
  if (!lock_batch(batch, pages.locked(), may_be_reclaimed)) return {}; // 4
  if (auto zapped = pages.zap(); !zapped) return forward(zapped);      // 5
  Reclaimed done;
  done.full = !pages.put();                 // 6
  auto given = pages.give_back(done.pages); // 7, 8
  counters_->add(Counter::reclaimed_pages, done.pages);
  if (!given) return forward(given);
  return done;
}

template <class D>
Result<Reclaimed> AddressSpaceOf<D>::reclaim(std::uintptr_t address, std::uint64_t length) {
  if (auto ok = check_range(address, length); !ok) return forward(ok);
  SLAT_ASSERT(page_locks_held() == 0 && !notifiers_.inside_call(),
              "reclaim inside a range, or with a page lock held");
  const std::uintptr_t end = address + length;
  return no_throw([&]() -> Result<Reclaimed> {
    Reclaimed sum;
    auto done = each_present_batch(address, end, [&](const VmaView& batch) -> Result<bool> {
      if (!may_be_reclaimed(batch)) return true;
      if (batch.backing->store() == nullptr)
        return fail(Errc::invalid_argument, 0,
                    fmt::format("memory at {:#x} cannot be reclaimed: nowhere to keep it{}",
                                batch.start,
                                batch.backing->keeps_data() ? " but its own file" : ""));
      const std::uint64_t mlocks = mlock_count_.load(std::memory_order_acquire);
      auto some = reclaim_batch(batch);
      // mlock comes without a range. If the VMA was not locked in 4, the writer that locks it counts later; the host's
      // own lock has its mlock before our zap, and so the count before this look at it. What is locked is left alone,
      // though by now it may be unlocked again. (Acquire: pairs with the release in set_flags().)
      if (!some && some.error().os_error == EINVAL &&
          mlock_count_.load(std::memory_order_acquire) != mlocks)
        return true;
      if (!some) return forward(some);
      sum.pages += some->pages;
      sum.full = some->full;
      return !sum.full;
    });
    if (!done) return forward(done);
    return sum;
  });
}

#define SLAT_INSTANTIATE(Design)                                                                   \
  template Result<Reclaimed> AddressSpaceOf<Design>::reclaim(std::uintptr_t, std::uint64_t);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
