#include "vmm/virtio/balloon.hpp"

#include "vmm/layout.hpp"
#include "vmm/virtio/segments.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>

namespace slat::vmm::virtio {

namespace {

constexpr unsigned inflate_queue = 0;
constexpr unsigned statistics_queue = 2; // if the driver wants it; 1 is the one for deflating

enum Feature : std::uint64_t {
  feature_statistics = 1 << 1,
  feature_deflate_on_oom = 1 << 2,
  feature_reporting = 1 << 5,
};

struct BalloonConfig {
  std::uint32_t pages;  // what the guest is to give up
  std::uint32_t actual; // what it has
};

constexpr std::size_t statistic_bytes = 10; // a tag of 2 and a value of 8, packed
constexpr std::array<std::string_view, 10> statistic_names = {
    "swap_in",      "swap_out",         "major_faults", "minor_faults",        "free_memory",
    "total_memory", "available_memory", "disk_caches",  "hugetlb_allocations", "hugetlb_failures"};

} // namespace

std::uint64_t Balloon::features() const {
  return feature_statistics |
         (options_.deflate_on_oom ? std::uint64_t{feature_deflate_on_oom} : 0) |
         (options_.free_page_reporting ? std::uint64_t{feature_reporting} : 0);
}

void Balloon::read_config(std::uint64_t offset, std::span<std::byte> data) const {
  const BalloonConfig config{
      static_cast<std::uint32_t>(target_.load(std::memory_order_relaxed) / guest_page_size),
      actual_.load(std::memory_order_relaxed)}; // numbers by themselves, both
  copy_config(config, offset, data);
}

void Balloon::write_config(std::uint64_t offset, std::span<const std::byte> data) {
  std::uint32_t pages = 0;
  if (offset != offsetof(BalloonConfig, actual) || data.size() != sizeof pages) return;
  std::memcpy(&pages, data.data(), sizeof pages);
  actual_.store(pages, std::memory_order_relaxed); // the guest's word: a number by itself
}

void Balloon::activate(std::uint64_t features) {
  unsigned next = statistics_queue;
  has_statistics_ = (features & feature_statistics) != 0;
  if (has_statistics_) ++next;
  reporting_queue_ = (features & feature_reporting) != 0 ? std::optional(next) : std::nullopt;
  mmu::MutexGuard guard(mutex_);
  active_ = has_statistics_;
}

void Balloon::reset() {
  actual_.store(0, std::memory_order_relaxed); // a number by itself
  mmu::MutexGuard guard(mutex_);
  active_ = wanted_ = false;
  held_.reset();
  statistics_.clear();
}

Result<void> Balloon::process(unsigned index, Queue& queue, GuestRam& ram) {
  if (has_statistics_ && index == statistics_queue) return take_statistics(queue, ram);
  return serve(queue, *host_, [&](const Chain& chain) -> Result<std::uint32_t> {
    if (index == inflate_queue) return inflate(chain, ram);
    if (index == reporting_queue_) return report(chain, ram);
    return 0U; // a deflated page is there when the guest touches it
  });
}

Result<std::uint32_t> Balloon::inflate(const Chain& chain, GuestRam& ram) {
  SegmentCursor in(ram, chain.readable);
  std::array<std::uint32_t, 256> pages{}; // as many as Linux gives at once
  while (in.left() != 0) {
    auto bytes = in.read(std::as_writable_bytes(std::span(pages)));
    if (!bytes) return forward(bytes);
    if (*bytes % sizeof pages[0] != 0)
      return fail(Errc::bad_queue, 0,
                  "the guest's virtio driver broke a rule: a piece of a page number");
    // Neighbours are one range, and one invalidation.
    const auto given = std::span(pages).first(*bytes / sizeof pages[0]);
    std::ranges::sort(given);
    for (std::size_t i = 0; i < given.size();) {
      std::size_t count = 1;
      while (i + count < given.size() && given[i + count] - given[i] == count) ++count;
      const GpaRange range{given[i] * guest_page_size, count * guest_page_size};
      if (auto ok = ram.discard(range); !ok) return forward(ok);
      inflated_.fetch_add(range.size, std::memory_order_relaxed); // a sum
      i += count;
    }
  }
  return 0U;
}

Result<std::uint32_t> Balloon::report(const Chain& chain, GuestRam& ram) {
  for (const Segment& segment : chain.writable) {
    const Gpa start = (segment.address + guest_page_size - 1) / guest_page_size * guest_page_size;
    const Gpa end = (segment.address + segment.length) / guest_page_size * guest_page_size;
    if (start >= end) continue; // no whole page
    if (auto ok = ram.discard({start, end - start}); !ok) return forward(ok);
    reported_.fetch_add(end - start, std::memory_order_relaxed); // a sum
  }
  return 0U;
}

// The guest gives one buffer of figures. It is kept, and given back to ask for newer ones.
Result<void> Balloon::take_statistics(Queue& queue, GuestRam& ram) {
  std::optional<std::uint16_t> ask;
  {
    mmu::MutexGuard guard(mutex_);
    if (wanted_ && held_) {
      std::swap(ask, held_);
      wanted_ = false;
    }
  }
  if (ask)
    if (auto ok = queue.push(*ask, 0); !ok) return ok;
  Chain chain;
  auto more = queue.pop(chain);
  if (!more) return forward(more);
  if (!*more) return {};
  std::array<std::byte, statistic_bytes * 32> bytes{};
  SegmentCursor in(ram, chain.readable);
  auto count = in.read(bytes);
  if (!count) return forward(count);
  Statistics told;
  for (std::size_t at = 0; at + statistic_bytes <= *count; at += statistic_bytes) {
    std::uint16_t tag = 0;
    std::uint64_t value = 0;
    std::memcpy(&tag, bytes.data() + at, sizeof tag);
    std::memcpy(&value, bytes.data() + at + sizeof tag, sizeof value);
    if (tag < statistic_names.size()) told.emplace_back(statistic_names[tag], value);
  }
  mmu::MutexGuard guard(mutex_);
  statistics_ = std::move(told);
  held_ = chain.head;
  wanted_ = false; // whoever asked while there was no buffer has got these
  return {};
}

Result<void> Balloon::set_target(std::uint64_t bytes) {
  if (bytes % guest_page_size != 0 || bytes > ram_bytes_)
    return fail(Errc::invalid_argument, 0,
                fmt::format("a balloon of {} bytes: give a multiple of 4K of at most {}", bytes,
                            format_size(ram_bytes_)));
  target_.store(bytes, std::memory_order_relaxed); // a number; config_changed() orders it
  host_->config_changed();
  return {};
}

BalloonControl::State Balloon::state() const {
  return {target_.load(std::memory_order_relaxed),
          actual_.load(std::memory_order_relaxed) * guest_page_size, // numbers by themselves, all
          inflated_.load(std::memory_order_relaxed),
          reported_.load(std::memory_order_relaxed),
          options_.deflate_on_oom,
          options_.free_page_reporting};
}

BalloonControl::Statistics Balloon::statistics() {
  Statistics last;
  bool ask = false;
  {
    mmu::MutexGuard guard(mutex_);
    last = statistics_;
    ask = wanted_ = active_;
  }
  if (ask) host_->kick(statistics_queue);
  return last;
}

} // namespace slat::vmm::virtio
