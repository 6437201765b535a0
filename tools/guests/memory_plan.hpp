// Which guest pages the memory-stress image uses for what. Pure and freestanding.
//
//   image end ... [ generations | ledgers | shared pages | private pages ... ] [ private pages ...
//   ]
//                 `--------- first RAM range that is large enough ---------'   further RAM ranges
//
// Generations: one u32 per private page, what the page must hold. Ledgers: per vCPU, what it has
// seen and added to each shared counter. Private pages are numbered through; vCPU v of n tests
// [total*v/n, total*(v+1)/n).
#pragma once

#include "guests/abi.hpp"

#include <cstddef>
#include <cstdint>

namespace slat::guest {

struct PageRange {
  std::uint64_t start; // GPA, page aligned
  std::uint64_t pages;
};

struct MemoryPlan {
  static constexpr std::size_t max_ranges = 32;

  PageRange ranges[max_ranges] = {}; // of private pages, ascending
  std::size_t range_count = 0;
  std::uint64_t private_pages = 0;
  std::uint64_t generations = 0;   // GPA
  std::uint64_t ledgers = 0;       // GPA
  std::uint64_t ledger_stride = 0; // bytes from one vCPU's to the next
  std::uint64_t shared = 0;        // GPA
  std::uint64_t shared_pages = 0;
  std::uint64_t end = 0; // one past the highest byte used, GPA

  /// GPA of private page `index`, which must be below private_pages.
  [[nodiscard]] constexpr std::uint64_t address(std::uint64_t index) const {
    const PageRange* range = ranges;
    for (; index >= range->pages; ++range) index -= range->pages;
    return range->start + index * page_size;
  }

  [[nodiscard]] constexpr std::uint64_t share_begin(std::uint64_t vcpu, std::uint64_t count) const {
    return private_pages * vcpu / count;
  }
};

/// Shared counters and their ledger entries.
inline constexpr std::uint64_t counters_per_page = 8;

struct LedgerEntry {
  std::uint64_t seen;  // the counter's value as of this vCPU's last look
  std::uint64_t added; // by this vCPU
};

enum class PlanError { none, too_many_ranges, not_enough_memory };

/// What the caller has to fill a plan with: RAM above the image, page aligned, ascending.
struct PlanRequest {
  const PageRange* ram;
  std::size_t ram_count;
  std::uint64_t test_pages; // 0: all
  std::uint64_t shared_pages;
  std::uint64_t vcpus;
};

/// The page-aligned part of [start, start + size) at or above `floor`.
constexpr PageRange clip(std::uint64_t start, std::uint64_t size, std::uint64_t floor) {
  const std::uint64_t end = (start + size) / page_size * page_size;
  std::uint64_t begin = start < floor ? floor : start;
  begin = (begin + page_size - 1) / page_size * page_size;
  return end > begin ? PageRange{begin, (end - begin) / page_size} : PageRange{begin, 0};
}

/// Every vCPU gets a private page at least.
constexpr PlanError make_plan(const PlanRequest& request, MemoryPlan& plan) {
  if (request.ram_count > MemoryPlan::max_ranges) return PlanError::too_many_ranges;
  std::uint64_t available = 0;
  for (std::size_t i = 0; i < request.ram_count; ++i) available += request.ram[i].pages;
  // Sized for all of the pages that may become private; a little is left over where few are asked
  // for.
  const std::uint64_t most = request.test_pages == 0 ? available : request.test_pages;
  const auto to_pages = [](std::uint64_t bytes) { return (bytes + page_size - 1) / page_size; };
  const std::uint64_t generation_pages = to_pages(most * sizeof(std::uint32_t));
  const std::uint64_t ledger_pages =
      to_pages(request.shared_pages * counters_per_page * sizeof(LedgerEntry));
  const std::uint64_t head = generation_pages + ledger_pages * request.vcpus + request.shared_pages;

  std::size_t home = 0;
  while (home < request.ram_count && request.ram[home].pages < head) ++home;
  if (home == request.ram_count) return PlanError::not_enough_memory;
  plan = {};
  plan.generations = request.ram[home].start;
  plan.ledgers = plan.generations + generation_pages * page_size;
  plan.ledger_stride = ledger_pages * page_size;
  plan.shared = plan.ledgers + plan.ledger_stride * request.vcpus;
  plan.shared_pages = request.shared_pages;
  plan.end = plan.shared + plan.shared_pages * page_size;

  std::uint64_t wanted = UINT64_MAX;
  if (request.test_pages != 0) {
    if (request.test_pages < request.shared_pages) return PlanError::not_enough_memory;
    wanted = request.test_pages - request.shared_pages;
  }
  for (std::size_t i = 0; i < request.ram_count && plan.private_pages < wanted; ++i) {
    PageRange range = request.ram[i];
    if (i == home) range = {plan.end, range.pages - head};
    if (range.pages > wanted - plan.private_pages) range.pages = wanted - plan.private_pages;
    if (range.pages == 0) continue;
    plan.ranges[plan.range_count++] = range;
    plan.private_pages += range.pages;
    const std::uint64_t end = range.start + range.pages * page_size;
    if (end > plan.end) plan.end = end;
  }
  if (request.test_pages != 0 && plan.private_pages < wanted) return PlanError::not_enough_memory;
  return plan.private_pages < request.vcpus ? PlanError::not_enough_memory : PlanError::none;
}

} // namespace slat::guest
