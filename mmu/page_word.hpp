// PageWord: the 64-bit state of one 4 KiB page of guest memory, slat's host PTE.
//
//   bits   what
//   63-32  slot in the store of reclaimed pages
//   31-12  pins: users of the host view that a removal waits for; 11-9 free
//   8 installed (a hint)   7 write-tracked   6 dirty   5 accessed   4 waiters   3 locked
//   2-0    state
//
// States, and who may change them:
//   none, reclaimed --claim_fill()--> filling   the faulting thread that wins the CAS, under the
//                                               VMA read lock; the slot stays readable to it
//   filling --finish_fill()--> present          the claimer, once the bytes are in the host view
//   filling --finish_fill()--> poisoned         the claimer, if the source failed
//   filling --finish_fill()--> as it was        the claimer, if the fill is called off
//   present --unlock_empty()--> none            discard and unmap: the invalidator, locked
//   reclaimed --unlock_empty()--> none          the same; the slot is the invalidator's to drop
//   present --unlock_reclaimed()--> reclaimed   reclaim, locked, once the bytes are in the slot and the
//                                               page is a hole
//   none --adopt()--> present, reclaimed,       migration, which has reserved the page's place: no VMA
//                     poisoned                  maps it, so nobody else changes it
//
// Pins are a count beside the state. try_pin_present() adds one to a present page, whoever locks it;
// unpin() drops it. A pin excludes removal, not the lock, nor a zap, whose data stays: who means to
// remove content has a range in progress first and waits until the page is unpinned. A pin taken
// under such a range is dropped again unused, so the count may be above 0 for a moment in any state,
// and every other transition leaves it alone. What makes a pin good is in pin.hpp.
//
// `filling` and `locked` are two forms of one ownership and exclude each other: whoever waits for
// one waits for both. The lock bit is the "PT lock" of this project. No notifier callback and no
// fill runs while it is held, and while it plays FROZEN for an install that is a system call, an
// invalidator of the range waits for it.
//
// Orderings. Lock, claim and every wait's exit are acquire; unlock and finish are release on the
// same word, so all that the last owner did to the page happens before the next owner. A waiter
// announces itself in the word that it waits for, so the owner's one read-modify-write sees it or
// the waiter's CAS fails: no fence is needed. Pins have the same pairs: try_pin_present() acquires
// what finish_fill() released, unpin() releases what its user did to the page to wait_unpinned().
// Waiters of either kind share the bit: whoever clears it wakes all, and they look again.
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"

#include <cstdint>
#include <optional>

namespace slat::mmu {

enum class PageState : std::uint32_t { none, filling, present, reclaimed, poisoned };

/// One reading of a page word.
class PageBits {
 public:
  static constexpr std::uint64_t state_mask = 0x7;
  static constexpr std::uint64_t locked = 1u << 3;
  static constexpr std::uint64_t waiters = 1u << 4;
  static constexpr std::uint64_t accessed = 1u << 5;
  static constexpr std::uint64_t dirty = 1u << 6;
  static constexpr std::uint64_t write_tracked = 1u << 7;
  static constexpr std::uint64_t installed = 1u << 8;
  static constexpr std::uint64_t flags = accessed | dirty | write_tracked | installed;
  static constexpr unsigned pin_shift = 12;
  static constexpr std::uint64_t one_pin = std::uint64_t(1) << pin_shift;
  static constexpr std::uint64_t pin_mask = 0xfffff000;
  static constexpr unsigned slot_shift = 32;

  constexpr explicit PageBits(std::uint64_t raw) : raw_(raw) {}

  [[nodiscard]] constexpr PageState state() const { return PageState(raw_ & state_mask); }

  [[nodiscard]] constexpr bool has(std::uint64_t bits) const { return (raw_ & bits) == bits; }

  [[nodiscard]] constexpr bool owned() const {
    return (raw_ & locked) != 0 || state() == PageState::filling;
  }

  [[nodiscard]] constexpr std::uint32_t pins() const {
    return std::uint32_t((raw_ & pin_mask) >> pin_shift);
  }

  [[nodiscard]] constexpr std::uint32_t slot() const { return std::uint32_t(raw_ >> slot_shift); }

  [[nodiscard]] constexpr std::uint64_t raw() const { return raw_; }

 private:
  std::uint64_t raw_;
};

enum class FillClaim {
  claimed,  // this thread fills the page and must call finish_fill()
  present,  // nothing to fill
  busy,     // somebody else fills or locks it: wait with no lock held, then start again
  poisoned, // its source failed for good
};

template <class A> class PageWordOf {
 public:
  /// Any time, no lock. Acquire: pairs with the release of unlock() and finish_fill().
  [[nodiscard]] PageBits read() const { return PageBits(word_.load(std::memory_order_acquire)); }

  /// none or reclaimed -> filling; `was` tells which, for finish_fill() to put back where the fill is called off.
  /// Does not sleep. Caller holds the VMA read lock, so that an unmapper, which write-locks the VMA first, cannot
  /// have passed this page already (I13).
  [[nodiscard]] FillClaim claim_fill(PageState& was) {
    std::uint64_t old =
        word_.load(std::memory_order_relaxed); // the CAS or the acquire reload decides
    for (;;) {
      const PageBits bits(old);
      if (bits.owned()) return FillClaim::busy;
      if (bits.state() == PageState::present || bits.state() == PageState::poisoned) {
        const PageBits now = read();
        if (now.raw() == old)
          return bits.state() == PageState::present ? FillClaim::present : FillClaim::poisoned;
        old = now.raw();
        continue;
      }
      was = bits.state();
      const std::uint64_t filling =
          (old & ~PageBits::state_mask) | std::uint64_t(PageState::filling);
      if (word_.compare_exchange_weak(old, filling, std::memory_order_acquire,
                                      std::memory_order_relaxed))
        return FillClaim::claimed;
    }
  }

  /// filling -> `to`; only by the claimer. Wakes those who wait. Does not sleep. When the page goes
  /// back to none the slot of a reclaimed page is forgotten; use PageState::reclaimed to put it
  /// back as it was.
  void finish_fill(PageState to) {
    SLAT_ASSERT(read().state() == PageState::filling, "finish_fill on a page that nobody fills");
    release_as(to, 0, 0, to == PageState::reclaimed);
  }

  /// none -> `to`, with the flags and the slot of the page whose content has come here. Only where no VMA maps
  /// the page. Does not sleep. Release: pairs with the acquire of the first who claims, locks or reads it.
  void adopt(PageState to, std::uint64_t flags, std::uint32_t slot) {
    SLAT_ASSERT(read().state() == PageState::none && !read().owned(),
                "a page is taken that is in use");
    word_.fetch_or(std::uint64_t(to) | flags | std::uint64_t(slot) << PageBits::slot_shift,
                   std::memory_order_release);
  }

  /// Takes the lock; sleeps while another thread fills or locks the page. No lock may be held that
  /// a filler may want; in particular no second page lock, unless pages are locked in ascending
  /// order by invalidators only.
  void lock() {
    std::uint64_t old = word_.load(std::memory_order_relaxed); // the CAS decides
    for (;;) {
      if (PageBits(old).owned()) {
        old = sleep(old);
        continue;
      }
      if (word_.compare_exchange_weak(old, old | PageBits::locked, std::memory_order_acquire,
                                      std::memory_order_relaxed))
        break;
    }
    A::on_page_lock();
  }

  /// Locks the page if it is present and neither locked nor being filled; gives what the word was then, which saves
  /// reading it again. Does not sleep.
  [[nodiscard]] std::optional<PageBits> try_lock_present() {
    std::uint64_t old = word_.load(std::memory_order_relaxed); // the CAS decides
    do {
      const PageBits bits(old);
      if (bits.owned() || bits.state() != PageState::present) return std::nullopt;
    } while (!word_.compare_exchange_weak(old, old | PageBits::locked, std::memory_order_acquire,
                                          std::memory_order_relaxed));
    A::on_page_lock();
    return PageBits(old);
  }

  /// Drops the lock, setting and clearing flags with it. Wakes those who wait. Does not sleep.
  void unlock(std::uint64_t set = 0, std::uint64_t clear = 0) {
    SLAT_ASSERT(read().has(PageBits::locked), "unlock of a page that is not locked");
    A::on_page_unlock();
    release_as(read_owned().state(), set, clear, true);
  }

  /// Drops the lock and leaves the page empty: every flag and the slot are gone (discard, unmap).
  void unlock_empty() {
    SLAT_ASSERT(read().has(PageBits::locked), "unlock of a page that is not locked");
    A::on_page_unlock();
    release_as(PageState::none, 0, PageBits::flags, false);
  }

  /// present, locked -> reclaimed(slot): drops the lock, every flag is gone but write-tracked, which is of the
  /// content. The bytes are in the slot and out of the memory by now: whoever claims the page next acquires both.
  /// Wakes those who wait. Does not sleep.
  void unlock_reclaimed(std::uint32_t slot) {
    SLAT_ASSERT(read().has(PageBits::locked), "unlock of a page that is not locked");
    SLAT_ASSERT(read_owned().state() == PageState::present && read_owned().slot() == 0,
                "a page is reclaimed that is not present");
    A::on_page_unlock();
    release_as(PageState::reclaimed, std::uint64_t(slot) << PageBits::slot_shift,
               PageBits::flags & ~PageBits::write_tracked, false);
  }

  /// Sets flags (accessed, dirty) at any time. Relaxed: they are hints until an owner reads them
  /// under the lock.
  void set_flags(std::uint64_t flags) { word_.fetch_or(flags, std::memory_order_relaxed); }

  /// Clears flags (accessed, dirty) at any time; the same.
  void clear_flags(std::uint64_t flags) { word_.fetch_and(~flags, std::memory_order_relaxed); }

  /// lock() and unlock(0, flags) in one step, if nobody fills or locks the page; else false, and nothing has changed.
  /// Acquire, as in lock(), from the last owner's release_as(); there is nothing to release. Does not sleep.
  [[nodiscard]] bool clear_if_unowned(std::uint64_t flags) {
    std::uint64_t old = word_.load(std::memory_order_relaxed); // the CAS decides
    do {
      if (PageBits(old).owned()) return false;
    } while (!word_.compare_exchange_weak(old, old & ~flags, std::memory_order_acquire,
                                          std::memory_order_relaxed));
    return true;
  }

  /// Sleeps until nobody fills or locks the page; it may be owned again on return. No page or VMA
  /// lock held.
  void wait_unowned() {
    std::uint64_t old = word_.load(std::memory_order_relaxed); // acquired below before returning
    while (PageBits(old).owned()) old = sleep(old);
    (void)read();
  }

  /// One pin more if the page is present. False too where a million pins are held. Does not sleep.
  /// Good for nothing before the checks of pin.hpp.
  [[nodiscard]] bool try_pin_present() {
    std::uint64_t old = word_.load(std::memory_order_relaxed); // the CAS decides
    do {
      const PageBits bits(old);
      if (bits.state() != PageState::present || (old & PageBits::pin_mask) == PageBits::pin_mask)
        return false;
    } while (!word_.compare_exchange_weak(old, old + PageBits::one_pin, std::memory_order_acquire,
                                          std::memory_order_relaxed));
    return true;
  }

  /// Drops a pin of the caller's and sets flags with it. Wakes those who wait. Does not sleep.
  void unpin(std::uint64_t set = 0) {
    std::uint64_t old = word_.load(std::memory_order_relaxed); // the CAS decides
    std::uint64_t fewer = 0;
    do {
      SLAT_ASSERT(PageBits(old).pins() != 0, "unpin of a page that is not pinned");
      fewer = (old | set) - PageBits::one_pin;
      if (PageBits(fewer).pins() == 0) fewer &= ~PageBits::waiters;
    } while (!word_.compare_exchange_weak(old, fewer, std::memory_order_release,
                                          std::memory_order_relaxed));
    if (PageBits(fewer).pins() == 0 && PageBits(old).has(PageBits::waiters)) A::wake_all(word_);
  }

  /// Sleeps until a moment without pins. Inside a range that covers the page, so that no pin taken
  /// later is used. No page lock held.
  void wait_unpinned() {
    std::uint64_t old = word_.load(std::memory_order_relaxed); // acquired below before returning
    while (PageBits(old).pins() != 0) old = sleep(old);
    // Every change of the word is a read-modify-write, so this reads from the release sequences of
    // all unpin()s so far.
    (void)read();
  }

 private:
  [[nodiscard]] PageBits read_owned() const {
    return PageBits(
        word_.load(std::memory_order_relaxed)); // the state is the owner's to change: this thread's
  }

  /// The one way to give up ownership. Release: pairs with the acquire of the next owner's CAS or
  /// read().
  void release_as(PageState to, std::uint64_t set, std::uint64_t clear, bool keep_slot) {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    std::uint64_t fresh = 0;
    do {
      fresh = old & ~(PageBits::state_mask | PageBits::locked | PageBits::waiters | clear);
      if (!keep_slot) fresh &= (std::uint64_t(1) << PageBits::slot_shift) - 1;
      fresh |= std::uint64_t(to) | set;
    } while (!word_.compare_exchange_weak(old, fresh, std::memory_order_release,
                                          std::memory_order_relaxed));
    if (PageBits(old).has(PageBits::waiters)) A::wake_all(word_);
  }

  /// One round of sleep, until the word changes from `old`; returns a new reading.
  std::uint64_t sleep(std::uint64_t old) {
    if (!PageBits(old).has(PageBits::waiters)) {
      const std::uint64_t announced = old | PageBits::waiters;
      if (!word_.compare_exchange_weak(old, announced, std::memory_order_relaxed,
                                       std::memory_order_relaxed))
        return old;
      old = announced;
    }
    A::wait_while(word_, old);
    return word_.load(std::memory_order_relaxed); // the caller's CAS or read() acquires
  }

  typename A::template atomic<std::uint64_t> word_{0};
};

using PageWord = PageWordOf<StdAtomics>;
static_assert(sizeof(PageWord) == 8);

} // namespace slat::mmu
