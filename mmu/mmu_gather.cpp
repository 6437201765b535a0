#include "mmu/mmu_gather.hpp"

#include <cstring>
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

void FlushedPages::free(Content content) {
  finished_ = true;
  for (const Run& run : runs_) {
    Backing& backing = *run.backing;
    const bool keep = content == Content::unmapped && backing.keeps_data();
    const bool given_back = keep || host::punch(backing.fd(), run.pages.first << page_shift,
                                                run.pages.count << page_shift)
                                        .has_value();
    for (std::uint64_t page = run.pages.first; page < run.pages.first + run.pages.count; ++page) {
      PageWord& word = backing.word(page);
      if (word.read().raw() == 0)
        continue; // was empty before: nobody fills it while the VMA is write-locked
      word.lock();
      const PageState state = word.read().state(); // locked: nobody else changes it
      const std::uint32_t slot = word.read().slot();
      // What was never filled was never ours to zero, and may not be there (a shared file's end). What is
      // reclaimed is a hole already.
      if (!given_back && state == PageState::present)
        std::memset(backing.host_view(page), 0, page_size);
      word.unlock_empty();
      if (state == PageState::present) backing.add_resident(-1);
      if (state == PageState::reclaimed)
        backing.store()->drop(slot);
      else if (!keep)
        counters_->add(given_back ? Counter::freed_pages : Counter::unfreed_pages);
    }
  }
}

} // namespace slat::mmu
