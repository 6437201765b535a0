// Table pages: 512 entries in 4 KiB and nothing else, for hardware reads them; so what the pool has to
// know of a dead page is written into its dead entries.
//
//   private   allocate(); the caller alone knows the page: free_private(), or link it
//   linked    one table entry holds its address
//   unlinked  that entry has been replaced; whoever did it makes every entry DEAD
//   retired   after the flush (I30): retire(); freed after a grace period, for lockless walkers
//
// Retired pages are a list through the address of their first entry. One deferred call at a time
// stands for a whole list; pages retired meanwhile wait for the next one, and so for a grace period
// that starts after them.
#pragma once

#include "mmu/alloc.hpp"
#include "mmu/atomics.hpp"
#include "mmu/rcu.hpp"
#include "mmu/stage2/table_page.hpp"
#include "mmu/thread_safety.hpp"

#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace slat::mmu::stage2 {

template <class F, class A> class TablePool {
 public:
  using Page = TablePage<F, A>;
  static_assert(sizeof(Page) == 4096);

  TablePool() = default;
  TablePool(const TablePool&) = delete;
  TablePool& operator=(const TablePool&) = delete;

  /// Every page that was ever linked has been retired. Sleeps for their grace periods.
  ~TablePool() {
    while (busy()) rcu::barrier(); // a call may have called again
    SLAT_ASSERT(live() == 0, "a table page is lost");
  }

  /// All entries absent; nullptr if memory is used up. May sleep: not in an RCU section.
  [[nodiscard]] Page* allocate() {
    void* const memory = mmu::allocate(sizeof(Page), sizeof(Page));
    if (memory == nullptr) return nullptr;
    live_.fetch_add(1, std::memory_order_relaxed); // a count, not a signal
    return std::construct_at(static_cast<Page*>(memory));
  }

  /// A page that was never linked.
  void free_private(Page* page) {
    if (page == nullptr) return;
    std::destroy_at(page);
    deallocate(page);
    live_.fetch_sub(1, std::memory_order_relaxed);
  }

  /// A list of dead pages, through their first entries, whose flush is done. Does not sleep.
  void retire(Page* first) SLAT_EXCLUDES(mutex_) {
    if (first == nullptr) return;
    const MutexGuard guard(mutex_);
    Page* last = first;
    while (Page* const next = next_of(*last)) last = next;
    set_next(*last, waiting_);
    waiting_ = first;
    if (batch_.pages == nullptr) start();
  }

  /// Puts a dead page before `next`.
  static void set_next(Page& page, Page* next) {
    // Relaxed: walkers see one DEAD value or another, and the list is passed on under the mutex.
    page.entries[0].store(dead_entry(reinterpret_cast<std::uint64_t>(next)),
                          std::memory_order_relaxed);
  }

  [[nodiscard]] static Page* next_of(const Page& page) {
    return reinterpret_cast<Page*>(page.entries[0].load(std::memory_order_relaxed) & address_mask);
  }

  /// Pages that exist: private, linked, and not yet freed.
  [[nodiscard]] std::uint64_t live() const { return live_.load(std::memory_order_relaxed); }

  /// Sleeps until what was retired before is freed.
  void drain() SLAT_EXCLUDES(mutex_) {
    while (busy()) rcu::barrier();
  }

 private:
  struct Batch : DeferredCall {
    TablePool* pool = nullptr;
    Page* pages = nullptr;
  };

  void start() SLAT_REQUIRES(mutex_) {
    batch_.pool = this;
    batch_.pages = std::exchange(waiting_, nullptr);
    rcu::call(batch_, [](DeferredCall* call) { static_cast<Batch*>(call)->pool->free_batch(); });
  }

  void free_batch() SLAT_EXCLUDES(mutex_) {
    Page* page = nullptr;
    {
      const MutexGuard guard(mutex_);
      page = batch_.pages;
    }
    while (page != nullptr) {
      Page* const next = next_of(*page);
      free_private(page);
      page = next;
    }
    const MutexGuard guard(mutex_); // held to the end: the destructor waits for it
    batch_.pages = nullptr;
    if (waiting_ != nullptr) start();
  }

  [[nodiscard]] bool busy() SLAT_EXCLUDES(mutex_) {
    const MutexGuard guard(mutex_);
    return batch_.pages != nullptr;
  }

  std::atomic<std::uint64_t> live_{0};
  // Not a leaf: rcu::call() takes the reclaimer's.
  Mutex mutex_{LockRank::object_cache};
  Page* waiting_ SLAT_GUARDED_BY(mutex_) = nullptr;
  Batch batch_ SLAT_GUARDED_BY(mutex_);
};

} // namespace slat::mmu::stage2
