#include "mmu/host_journal.hpp"

#include "mmu/assert.hpp"
#include "mmu/host.hpp"

#include <algorithm>
#include <sys/mman.h>

namespace slat::mmu {

namespace {

int host_protection(std::uint32_t flags) {
  return ((flags & vm_read) != 0 ? PROT_READ : 0) | ((flags & vm_write) != 0 ? PROT_WRITE : 0) |
         ((flags & vm_exec) != 0 ? PROT_EXEC : 0);
}

Result<void> set_host_flags(const VmaView& view, std::uint32_t to, std::uint32_t mask) {
  if ((mask & vm_access_flags) != 0)
    return host::protect(view.start, view.bytes(), host_protection(to));
  return (to & vm_locked) != 0 ? host::lock(view.start, view.bytes())
                               : host::unlock(view.start, view.bytes());
}

} // namespace

HostJournal::~HostJournal() {
  while (!steps_.empty()) {
    const Step step = steps_.back();
    steps_.pop_back();
    undo(step);
  }
}

Result<void> HostJournal::map_and_guard(const VmaView& view) {
  auto mapped = host::map_over(view.start, view.bytes(), host_protection(view.flags),
                               view.backing->fd(), view.pgoff << page_shift);
  if (!mapped) return mapped;
  if (guard_ != nullptr)
    if (auto guarded = guard_->guard(view.start, view.bytes()); !guarded) return guarded;
  return (view.flags & vm_locked) != 0 ? host::lock(view.start, view.bytes()) : Result<void>();
}

void HostJournal::note(const Step& step) {
  SLAT_ASSERT(steps_.size() < steps_.capacity(), "a step of the journal was not expected");
  steps_.push_back(step);
}

Result<void> HostJournal::map(const VmaView& view) {
  // Noted first: a mapping that is made and then not guarded has to go again.
  note({Kind::mapped, view});
  return map_and_guard(view);
}

Result<std::uintptr_t> HostJournal::reserve(std::size_t length, std::size_t alignment) {
  auto where = host::reserve(0, length, alignment);
  if (where) {
    VmaView view;
    view.start = *where;
    view.end = *where + length;
    note({Kind::reserved, view});
  }
  return where;
}

Result<void> HostJournal::reserve_between(const VmaViews& taken, std::uintptr_t start,
                                          std::uintptr_t end) {
  Result<void> outcome;
  std::uintptr_t at = start;
  for (std::size_t i = 0; i <= taken.size() && outcome; ++i) {
    const std::uintptr_t hole_end = i < taken.size() ? taken[i].start : end;
    if (at < hole_end)
      window_.each_outside(at, hole_end, [&](std::uintptr_t from, std::uintptr_t to) {
        if (!outcome) return;
        outcome = host::reserve_free(from, to - from);
        if (!outcome) return;
        VmaView hole;
        hole.start = from;
        hole.end = to;
        note({Kind::reserved, hole});
      });
    if (i < taken.size()) at = taken[i].end;
  }
  return outcome;
}

Result<void> HostJournal::unmap_at_last(const VmaViews& views) {
  const std::uintptr_t start = views.front().start;
  const std::uintptr_t end = views.back().end;
  if (first_hole(views, start, end) != end || window_.overlaps(start, end)) return unmap(views);
  return host::unmap(start, end - start);
}

// A step that may be half done when it fails is noted before it is taken: to undo what was never done
// does no harm.

Result<void> HostJournal::unmap(const VmaViews& views) {
  for (const VmaView& view : views) {
    auto taken = host::reserve(view.start, view.bytes());
    if (!taken) return forward(taken);
    note({Kind::taken, view});
  }
  return {};
}

Result<void> HostJournal::set_flags(const VmaViews& before, std::uint32_t mask,
                                    std::uint32_t flags) {
  for (const VmaView& view : before) {
    const std::uint32_t to = (view.flags & ~mask) | (flags & mask);
    if (to == view.flags) continue;
    note({Kind::flags, view, 0, mask});
    if (auto set = set_host_flags(view, to, mask); !set) return set;
  }
  return {};
}

Result<void> HostJournal::move(const VmaViews& views, std::uintptr_t to) {
  for (const VmaView& view : views) {
    const std::uintptr_t target = to + (view.start - views.front().start);
    const bool locked = (view.flags & vm_locked) != 0;
    if (locked) {
      // MREMAP_DONTUNMAP unlocks all of the host's mapping, of which this may be a part.
      note({Kind::flags, view, 0, vm_locked});
      if (auto unlocked = host::unlock(view.start, view.bytes()); !unlocked) return unlocked;
    }
    auto moved = host::move(view.start, view.bytes(), target);
    if (!moved) return moved;
    note({Kind::moved, view, target});
    if (locked)
      if (auto relocked = host::lock(target, view.bytes()); !relocked) return relocked;
    // The host has left a mapping of the same memory behind, through which a guest could still reach
    // it after the range has ended.
    if (auto reserved = host::reserve(view.start, view.bytes()); !reserved)
      return forward(reserved);
    if (guard_ != nullptr)
      if (auto guarded = guard_->guard(target, view.bytes()); !guarded) return guarded;
  }
  return {};
}

void HostJournal::undo(const Step& step) {
  const VmaView& view = step.view;
  bool undone = true;
  switch (step.kind) {
  case Kind::mapped:
    undone = host::reserve(view.start, view.bytes()).has_value();
    break;
  case Kind::taken:
    undone = map_and_guard(view).has_value();
    break;
  case Kind::flags:
    undone = set_host_flags(view, view.flags, step.flags).has_value();
    break;
  case Kind::moved:
    undone = ((view.flags & vm_locked) == 0 ||
              host::unlock(step.to, view.bytes()).has_value()) && // see move()
             host::move(step.to, view.bytes(), view.start).has_value() &&
             host::reserve(step.to, view.bytes()).has_value() &&
             (guard_ == nullptr || guard_->guard(view.start, view.bytes()).has_value());
    break;
  case Kind::reserved:
    give_away(view.start, view.end);
    break;
  }
  SLAT_CHECK(undone, "the host refuses to restore a mapping that was there a moment ago");
}

void HostJournal::keep() {
  // What was taken may have been mapped over since. All that one operation makes is one stretch.
  std::uintptr_t made_start = ~std::uintptr_t(0);
  std::uintptr_t made_end = 0;
  for (const Step& step : steps_) {
    if (step.kind != Kind::mapped && step.kind != Kind::moved) continue;
    const std::uintptr_t at = step.kind == Kind::moved ? step.to : step.view.start;
    made_start = std::min(made_start, at);
    made_end = std::max(made_end, at + step.view.bytes());
  }
  for (const Step& step : steps_) {
    if (step.kind != Kind::taken && step.kind != Kind::moved) continue;
    const bool used = step.view.start < made_end && made_start < step.view.end;
    if (!used) give_away(step.view.start, step.view.end);
  }
  steps_.clear();
}

void HostJournal::give_away(std::uintptr_t start, std::uintptr_t end) {
  // Where the host refuses, address space without memory stays reserved: nothing is lost.
  window_.each_outside(start, end, [](std::uintptr_t from, std::uintptr_t to) {
    (void)host::unmap(from, to - from);
  });
}

} // namespace slat::mmu
