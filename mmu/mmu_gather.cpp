#include "mmu/mmu_gather.hpp"

#include <utility>

namespace slat::mmu {

MmuGather::~MmuGather() {
  SLAT_CHECK(flushed_, "an MmuGather was dropped without its flush (I27, I28)");
}

FlushedPages MmuGather::flush() {
  SLAT_ASSERT(!flushed_, "an MmuGather is flushed twice");
  SLAT_ASSERT(page_locks_held() == 0, "a TLB flush with a page lock held");
  for (TlbFlusher* flusher : flushers_) flusher->flush_range(start_, end_);
  counters_->add(Counter::tlb_flush_count);
  flushed_ = true;
  return FlushedPages(std::move(runs_), *counters_);
}

FlushedPages::FlushedPages(FlushedPages&& other) noexcept
    : runs_(std::move(other.runs_)), counters_(other.counters_),
      finished_(std::exchange(other.finished_, true)) {}

FlushedPages::~FlushedPages() {
  SLAT_CHECK(finished_, "flushed pages were neither freed nor kept");
}

Result<void> FlushedPages::free() {
  finished_ = true;
  Result<void> outcome;
  for (const Run& run : runs_) {
    auto punched = host::punch(run.backing->fd(), run.pages.first << page_shift,
                               run.pages.count << page_shift);
    if (!punched) {
      if (outcome) outcome = forward(punched);
      continue;
    }
    for (std::uint64_t page = run.pages.first; page < run.pages.first + run.pages.count; ++page) {
      PageWord& word = run.backing->word(page);
      if (word.read().raw() == 0)
        continue; // was empty before: nobody fills it while the VMA is write-locked
      word.lock();
      word.unlock_empty();
      counters_->add(Counter::freed_pages);
    }
  }
  return outcome;
}

} // namespace slat::mmu
