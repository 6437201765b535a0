#include "vmm/write_audit.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <string_view>
#include <utility>

namespace slat::vmm {

std::optional<std::size_t> WriteAudit::hash_of(Gpa page) {
  alignas(64) std::array<std::byte, mmu::page_size> bytes;
  const auto view = ram_->guest_view_of(page);
  if (!view || !ram_->mm().read_unwritten(*view, bytes)) return std::nullopt;
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

tl::expected<void, std::string> WriteAudit::begin(const GpaRange& range, Clock::time_point until) {
  const bool overlaps = std::any_of(tracked_.begin(), tracked_.end(), [&](const Tracked& other) {
    return range.start < other.range.start + other.range.size &&
           other.range.start < range.start + range.size;
  });
  if (overlaps || tracked_.size() == most_tracked)
    if (auto done = finish(true); !done) return done;
  const auto view = ram_->guest_view_of(range.start);
  if (!view) return tl::unexpected(fmt::format("{:#x} is no guest memory", range.start));
  if (auto tracked = ram_->mm().track_writes(*view, range.size); !tracked)
    return tl::unexpected(tracked.error().message);
  Tracked& fresh = tracked_.emplace_back(Tracked{range, until, {}});
  for (Gpa page = range.start; page < range.start + range.size; page += mmu::page_size)
    fresh.hashes.push_back(hash_of(page));
  return {};
}

tl::expected<void, std::string> WriteAudit::finish(bool all) {
  const auto now = Clock::now();
  const auto due = std::partition(tracked_.begin(), tracked_.end(), [&](const Tracked& tracked) {
    return !all && tracked.until > now;
  });
  tl::expected<void, std::string> result;
  for (auto tracked = due; tracked != tracked_.end(); ++tracked)
    if (auto ended = end(*tracked); !ended && result) result = ended;
  tracked_.erase(due, tracked_.end());
  return result;
}

tl::expected<void, std::string> WriteAudit::end(const Tracked& tracked) {
  for (std::size_t i = 0; i < tracked.hashes.size(); ++i) {
    if (!tracked.hashes[i]) continue;
    const Gpa page = tracked.range.start + (i << mmu::page_shift);
    const auto now = hash_of(page);
    if (!now) continue; // written, and told; or not to be had
    if (*now != *tracked.hashes[i])
      return tl::unexpected(fmt::format(
          "the page at {:#x} was written while its writes were tracked, and nobody was told",
          page));
    ++unwritten_pages_;
  }
  const auto view = ram_->guest_view_of(tracked.range.start);
  if (auto done = ram_->mm().untrack_writes(*view, tracked.range.size); !done)
    return tl::unexpected(done.error().message);
  return {};
}

} // namespace slat::vmm
