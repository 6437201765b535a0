// migrate: pages get another place in their backing, with their content, their state and their addresses.
//
// A mapping of the host shows a stretch of the memfd in a row, and is one to one to a VMA: so a page at another place is
// another mapping and another VMA, and this is a change of the map, not of pages alone (DESIGN 4 has page locks in mind).
//
//   1  the VMAs are write-locked, the new place is reserved, the change of the map prepared
//   2  invalidate_range_start: subscribers zap, pins drain (I26); page owners are waited for. From here on no word of the
//      range changes but by speculations that lose (claimed, put back) and installs that find the range (locked, let go)
//   3  memory for what is present, at the new place: the last thing that may fail for want of it
//   4  the host's mappings are exchanged, which zaps KVM's stage-2
//   5  TLBs are flushed: nobody reaches the old place any more
//   6  content, flags and slots go over; then the old place is emptied and given back
//   7  invalidate_range_end; the VMAs are exchanged and unlocked
//
// The new place's words are nobody else's until 7: no VMA maps them before.
#include "mmu/address_space_of.hpp"
#include "mmu/departure.hpp"
#include "mmu/vma_lock/all_designs.hpp"
#include "mmu/zero_source.hpp"

#include <cstring>
#include <fmt/format.h>
#include <list>

namespace slat::mmu {

namespace {

/// One run of pages on its way to another place of its backing.
class PageMigration {
 public:
  PageMigration(Backing& backing, PageRun from, std::uint64_t to)
      : backing_(&backing), from_(from), to_(to) {}

  ~PageMigration() {
    if (made_) (void)punch(); // else holes that are not: nobody maps them, and who does fills them
  }

  PageMigration(const PageMigration&) = delete;
  PageMigration& operator=(const PageMigration&) = delete;

  /// Memory for every page that is present.
  Result<void> make_room() {
    made_ = true;
    for (std::uint64_t i = 0; i < from_.count;) {
      std::uint64_t present = 0;
      while (i + present < from_.count && is_present(i + present)) ++present;
      if (present != 0) {
        const FillResult filled = ZeroSource().fill(*backing_, {to_ + i, present});
        if (filled == FillResult::no_memory)
          return fail(Errc::no_memory, ENOMEM, "no memory for the new place of pages");
        if (filled == FillResult::failed)
          return fail(Errc::os_failed, 0, "the new place of pages cannot be had");
      }
      i += present + 1;
    }
    return {};
  }

  /// Nobody reaches the pages by the old place, or maps the new one. Returns how many had content.
  std::uint64_t move() {
    made_ = false;
    std::uint64_t moved = 0;
    for (std::uint64_t i = 0; i < from_.count; ++i) moved += move_page(from_.first + i, to_ + i);
    return moved;
  }

 private:
  [[nodiscard]] bool is_present(std::uint64_t i) const {
    return backing_->word(from_.first + i).read().state() == PageState::present;
  }

  bool move_page(std::uint64_t from, std::uint64_t to) {
    PageWord& old = backing_->word(from);
    if (old.read().raw() == 0) return false;
    old.lock(); // an install that has not seen the range yet lets go at once
    const PageBits bits = old.read();
    PageWord& fresh = backing_->word(to);
    switch (bits.state()) {
    case PageState::present:
      std::memcpy(backing_->host_view(to), backing_->host_view(from), page_size);
      backing_->add_resident(1);
      fresh.adopt(PageState::present, bits.raw() & (PageBits::accessed | PageBits::dirty), 0);
      old.unlock(); // emptied with all others
      return true;
    case PageState::reclaimed:
      fresh.adopt(PageState::reclaimed, 0, bits.slot());
      old.unlock_empty(); // the slot has another owner now
      return true;
    case PageState::poisoned:
      fresh.adopt(PageState::poisoned, 0, 0);
      old.unlock();
      return true;
    case PageState::none:
    case PageState::filling:
      break;
    }
    old.unlock_empty();
    return false;
  }

  Result<void> punch() {
    return host::punch(backing_->fd(), to_ << page_shift, from_.count << page_shift);
  }

  Backing* backing_;
  PageRun from_;
  std::uint64_t to_;
  bool made_ = false; // room that is not used yet
};

Result<void> check_migration(const MigrateRequest& request, const VmaViews& moving) {
  const std::uintptr_t end = request.address + request.length;
  if (const std::uintptr_t hole = first_hole(moving, request.address, end); hole != end)
    return fail(Errc::not_mapped, 0, fmt::format("nothing is mapped at {:#x}", hole));
  const Backing& backing = *moving.front().backing;
  for (const VmaView& view : moving)
    if (view.backing != &backing)
      return fail(Errc::invalid_argument, 0, "pages of several backings cannot migrate at once");
  if (backing.keeps_data() || !backing.source().is_uniform())
    return fail(Errc::invalid_argument, 0,
                fmt::format("pages cannot migrate whose content depends on their place ({})",
                            backing.keeps_data() ? "a shared file" : backing.source().name()));
  const std::uint64_t count = request.length >> page_shift;
  if (request.pgoff > backing.pages() || count > backing.pages() - request.pgoff)
    return fail(Errc::invalid_argument, 0, "pages cannot migrate beyond the end of their backing");
  return {};
}

} // namespace

template <class D> Result<void> AddressSpaceOf<D>::migrate(const MigrateRequest& request) {
  if (auto ok = check_range(request.address, request.length); !ok) return ok;
  return no_throw([&]() -> Result<void> {
    const WriteGuard guard(design_);
    return migrate_locked(request);
  });
}

template <class D> Result<void> AddressSpaceOf<D>::migrate_locked(const MigrateRequest& request) {
  const std::uintptr_t end = request.address + request.length;
  Departure leaving(*this);
  HostJournal journal(window_, options_.guard);
  Change change(design_);
  change.include(request.address, end, Neighbours::include);
  const VmaViews moving = inside(change.before(), request.address, end);
  if (auto ok = check_migration(request, moving); !ok) return ok;
  Backing& backing = *moving.front().backing;
  PageReservation place(backing, {request.pgoff, request.length >> page_shift});
  if (!place.outcome()) return forward(place.outcome());
  VmaViews moved = moving;
  VmaViews after = cut(change.before(), request.address, end);
  std::list<PageMigration> migrations; // by VMA
  for (VmaView& view : moved) {
    const PageRun from = view.pages();
    view.pgoff = request.pgoff + ((view.start - request.address) >> page_shift);
    migrations.emplace_back(backing, from, view.pgoff);
    after = put(std::move(after), view);
  }
  if (auto ready = change.prepare(coalesced(after), options_.vma_limit); !ready) return ready;
  journal.expect(2 * moving.size());
  leaving.begin(moving, InvalidateEvent::migrate, Departure::Fills::wait_for);
  for (PageMigration& migration : migrations)
    if (auto made = migration.make_room(); !made) return made;
  if (auto taken = journal.unmap(moving); !taken) return taken;
  for (const VmaView& view : moved)
    if (auto mapped = journal.map(view); !mapped) return mapped;
  leaving.free_after([&] {
    for (PageMigration& migration : migrations)
      counters_->add(Counter::migrated_pages, migration.move());
  });
  commit(change);
  leaving.unreserve();
  place.keep();
  journal.keep();
  return {};
}

#define SLAT_INSTANTIATE(Design)                                                                   \
  template Result<void> AddressSpaceOf<Design>::migrate(const MigrateRequest&);
SLAT_FOR_EACH_DESIGN(SLAT_INSTANTIATE)
#undef SLAT_INSTANTIATE

} // namespace slat::mmu
