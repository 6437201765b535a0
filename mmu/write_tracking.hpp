// What a device that writes and whoever asks whether a page was written owe each other (I31), for they share no
// lock. A template over the atomics policy.
//
//   device (its pin is good)                  AddressSpace::read_unwritten() (under the page lock)
//     tracked? then clear the flag              tracked? else it was written
//     fence, release                            copy the content
//     write to the page                         fence, acquire
//                                               still tracked? else the copy means nothing
//
// If the copy has a byte of what was written, the fences order the device's look at the flag, and so the clearing,
// its own or another's that it has seen, before the second look: that one finds the flag cleared. Guests need none
// of it: their fault clears the flag under the page lock.
#pragma once

#include "mmu/page_word.hpp"

namespace slat::mmu {

/// The page is about to be written: not tracked any more. True if it was.
template <class A> [[nodiscard]] bool forget_tracking(PageWordOf<A>& word) {
  if (!word.read().has(PageBits::write_tracked)) return false;
  word.clear_flags(PageBits::write_tracked);
  return true;
}

/// After forget_tracking() of all pages, in any case, and before the first write.
template <class A> void before_writes() {
  A::fence_release(); // pairs with the fence in copy_if_unwritten()
}

/// copy() reads the page. True if the page is tracked and what was read is what it held when that began.
template <class A, class Copy> bool copy_if_unwritten(const PageWordOf<A>& word, Copy copy) {
  if (!word.read().has(PageBits::write_tracked)) return false;
  copy();
  A::fence_acquire(); // pairs with the fence in before_writes()
  return word.read().has(PageBits::write_tracked);
}

} // namespace slat::mmu
