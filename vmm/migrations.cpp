#include "vmm/migrations.hpp"

#include <algorithm>

namespace slat::vmm {

Result<void> Migrations::step(std::size_t region, std::uint64_t first, std::uint64_t count) {
  const GuestRam::Region& where = machine_->ram().regions()[region];
  const std::uint64_t spare = where.backing->pages() - (where.gpa.size >> mmu::page_shift);
  if (spare == 0)
    return fail(Errc::invalid_argument, 0,
                "pages have nowhere to migrate to: the machine has no spare memory");
  const std::uint64_t going = at_home(region, first, std::min(count, spare));
  const auto place = going == 0 ? std::nullopt : spare_place(region, going);
  if (!place || away_.size() == most_away)
    return away_.empty() ? Result<void>() : bring_first_home();
  const Away pages{region, first, going, *place};
  if (auto done = migrate(pages, *place); !done) return done;
  away_.push_back(pages);
  return {};
}

Result<void> Migrations::bring_home() {
  while (!away_.empty())
    if (auto done = bring_first_home(); !done) return done;
  return {};
}

Result<void> Migrations::bring_first_home() {
  const Away pages = away_.front();
  away_.pop_front();
  return migrate(pages, pages.first);
}

Result<void> Migrations::migrate(const Away& pages, std::uint64_t place) {
  const Gpa start = machine_->ram().regions()[pages.region].gpa.start;
  return machine_->migrate(
      {start + (pages.first << mmu::page_shift), pages.count << mmu::page_shift}, place);
}

std::uint64_t Migrations::at_home(std::size_t region, std::uint64_t first,
                                  std::uint64_t count) const {
  std::uint64_t end = first + count;
  for (const Away& pages : away_)
    if (pages.region == region && pages.first < end && first < pages.first + pages.count)
      end = std::max(first, pages.first);
  return end - first;
}

std::optional<std::uint64_t> Migrations::spare_place(std::size_t region,
                                                     std::uint64_t count) const {
  const GuestRam::Region& where = machine_->ram().regions()[region];
  std::uint64_t at = where.gpa.size >> mmu::page_shift;
  for (bool moved = true; moved;) { // first fit
    moved = false;
    for (const Away& pages : away_)
      if (pages.region == region && pages.place < at + count && at < pages.place + pages.count) {
        at = pages.place + pages.count;
        moved = true;
      }
  }
  if (at + count > where.backing->pages()) return std::nullopt;
  return at;
}

} // namespace slat::vmm
