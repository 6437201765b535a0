// HostJournal: the host mappings that one operation changes, with an undo log. Every step can fail;
// until keep() the destructor takes all of them back, and that cannot fail: nothing that the
// operation may need again is ever given away, so nobody else can have taken it meanwhile.
//
//   unmap    replaced by a reservation (PROT_NONE); given away by keep()
//   move     over a reservation, leaving a reservation behind; given away by keep()
//
// Userfaultfd forgets what is replaced, so whoever guards the guest view is told of every mapping
// that is made or made again.
#pragma once

#include "mmu/error.hpp"
#include "mmu/vma_map.hpp"

#include <cstdint>
#include <vector>

namespace slat::mmu {

/// Guards the host mappings of the guest view (userfaultfd). Calls come under the mm write lock.
class ViewGuard {
 public:
  virtual ~ViewGuard() = default;
  /// A mapping has been made at [start, start + length): guard it. May sleep; no page lock held.
  virtual Result<void> guard(std::uintptr_t start, std::size_t length) = 0;
  /// Pages that are guarded: writes to them fault from now on (`on`; those that are mapped, at least), or are let
  /// through again. Called with these pages locked. May sleep.
  virtual Result<void> write_protect(std::uintptr_t start, std::size_t length, bool on) = 0;
};

/// A stretch of address space set aside for guest views: what is unmapped in it stays reserved.
struct HostWindow {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0; // == start: there is none

  [[nodiscard]] bool overlaps(std::uintptr_t from, std::uintptr_t to) const {
    return start < to && from < end;
  }

  /// f(from, to) for the parts of [from, to) on either side of the window, which a VMA may reach over.
  template <class F> void each_outside(std::uintptr_t from, std::uintptr_t to, F f) const {
    if (!overlaps(from, to)) return f(from, to);
    if (from < start) f(from, start);
    if (end < to) f(end, to);
  }
};

class HostJournal {
 public:
  /// `guard` may be nullptr.
  HostJournal(const HostWindow& window, ViewGuard* guard) : window_(window), guard_(guard) {}

  ~HostJournal();
  HostJournal(const HostJournal&) = delete;
  HostJournal& operator=(const HostJournal&) = delete;

  /// At most so many more host mappings will be made, taken or changed. Throws std::bad_alloc, which
  /// nothing else here does.
  void expect(std::size_t steps) { steps_.reserve(steps_.size() + steps); }

  /// Maps `view` over what this journal has reserved or taken, or over a free part of the window.
  Result<void> map(const VmaView& view);

  /// Sets address space aside anywhere; returns where.
  Result<std::uintptr_t> reserve(std::size_t length, std::size_t alignment);

  /// Sets [start, end) aside, of which `taken` is ours already. Errc::exists if something foreign is
  /// there.
  Result<void> reserve_between(const VmaViews& taken, std::uintptr_t start, std::uintptr_t end);

  /// Takes mappings away.
  Result<void> unmap(const VmaViews& views);

  /// The same as the last step of all: nothing that can fail comes after it. Saves a system call.
  Result<void> unmap_at_last(const VmaViews& views);

  /// Gives the mapping of each of `before` the flags of `flags`, in `mask`.
  Result<void> set_flags(const VmaViews& before, std::uint32_t mask, std::uint32_t flags);

  /// Moves mappings to `to` + their distance from the first; there, the journal has a reservation or
  /// has taken what was there, or it is free in the window.
  Result<void> move(const VmaViews& views, std::uintptr_t to);

  /// The operation has succeeded. Gives away what is no longer needed.
  void keep();

 private:
  enum class Kind { mapped, taken, flags, moved, reserved };

  struct Step {
    Kind kind;
    VmaView view;          // what there was, or is to be unmapped
    std::uintptr_t to = 0; // where it was moved
    std::uint32_t flags = 0;
  };

  Result<void> map_and_guard(const VmaView& view);
  void note(const Step& step);
  void undo(const Step& step);
  void give_away(std::uintptr_t start, std::uintptr_t end);

  HostWindow window_;
  ViewGuard* guard_;
  std::vector<Step> steps_;
};

} // namespace slat::mmu
