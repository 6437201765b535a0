#include "mmu/counters.hpp"

#include <array>

namespace slat::mmu {

namespace {
constexpr std::array<std::string_view, counter_kinds> names = {
    "fault_count",
    "fault_retry_count",
    "fault_wait_count",
    "fault_no_memory_count",
    "fault_around_pages",
    "installed_pages",
    "filled_pages",
    "reclaimed_pages",
    "restored_pages",
    "migrated_pages",
    "poisoned_pages",
    "write_tracked_pages",
    "tracked_write_count",
    "vma_lock_miss_count",
    "mm_lock_fallback_count",
    "vma_commit_failed_count",
    "invalidate_count",
    "invalidated_pages",
    "invalidate_refused_count",
    "tlb_flush_count",
    "freed_pages",
    "unfreed_pages",
    "uffd_missing_count",
    "uffd_minor_count",
    "uffd_wp_count",
    "uffd_stale_count",
    "uffd_wake_count",
    "mmio_on_ram_count",
    "efault_count",
    "translation_hit_count",
    "translation_miss_count",
    "pin_wait_count",
};
static_assert(!names.back().empty());
} // namespace

std::string_view name(Counter counter) {
  return names[std::size_t(counter)];
}

} // namespace slat::mmu
