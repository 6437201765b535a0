// Counters and latency histograms of one machine. Names carry their unit. Counting is
// a load and a store on a cache line of the thread's own; sums are made on reading and are exact
// only when nothing moves.
#pragma once

#include "mmu/thread_slot.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace slat::mmu {

enum class Counter : unsigned {
  fault_count,       // faults resolved
  fault_retry_count, // started again because the invalidate sequence had moved or a race was lost
  fault_wait_count,  // waited for a page that another thread owned, or for a range in progress
  fault_no_memory_count,    // tried again because the host had no memory
  fault_around_pages,       // pages installed beyond the ones asked for
  installed_pages,          // pages installed into a secondary MMU, asked for or not
  filled_pages,             // pages whose source filled them
  reclaimed_pages,          // pages put into a store, and their memory given back to the host
  restored_pages,           // pages that came back from there
  migrated_pages,           // pages with content that went to another place of their backing
  poisoned_pages,           // pages whose source or store failed
  write_tracked_pages,      // pages write-protected to learn whether they are written
  tracked_write_count,      // of those, written: by a guest's fault or a device's pin
  vma_lock_miss_count,      // lockless VMA lookups that did not end in a lock
  mm_lock_fallback_count,   // faults that took the mm read lock
  vma_commit_failed_count,  // speculative faults that a writer overtook
  invalidate_count,         // ranges started
  invalidated_pages,        // pages in those ranges
  invalidate_refused_count, // non-blockable ranges that a subscriber refused
  tlb_flush_count,
  freed_pages,   // given back to the host
  unfreed_pages, // emptied, but the host would not take them
  uffd_missing_count,
  uffd_minor_count,
  uffd_wp_count,
  uffd_stale_count,      // messages of faults at a place that has moved or been protected since
  uffd_wake_count,       // installs that found the page installed and only woke the faulting thread
  mmio_on_ram_count,     // accesses that the kernel's emulator handed to us
  efault_count,          // KVM_RUN ended in EFAULT during a range in progress
  translation_hit_count, // pins by a cached translation
  translation_miss_count, // lookups of a VMA for a pin
  pin_wait_count,         // ranges that waited for a pin to be dropped
  last_,
};

inline constexpr std::size_t counter_kinds = std::size_t(Counter::last_);

/// The counter's name, as it appears in every report.
[[nodiscard]] std::string_view name(Counter counter);

class Counters {
 public:
  /// Any thread, any lock, never sleeps; not in signal handlers.
  void add(Counter counter, std::uint64_t amount = 1) {
    const unsigned slot = thread_slot();
    add_in_slot(slots_[slot].value[std::size_t(counter)], amount, slot == shared_thread_slot,
                std::memory_order_relaxed); // a sum, not a signal
  }

  [[nodiscard]] std::uint64_t sum(Counter counter) const {
    std::uint64_t total = 0;
    for (const Slot& slot : slots_)
      total += slot.value[std::size_t(counter)].load(std::memory_order_relaxed); // a sum
    return total;
  }

 private:
  struct alignas(64) Slot {
    std::array<std::atomic<std::uint64_t>, counter_kinds> value{};
  };

  std::array<Slot, thread_slots> slots_;
};

} // namespace slat::mmu
