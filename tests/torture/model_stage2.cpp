#include "model_stage2.hpp"

#include <thread>

namespace slat::torture {

namespace {

/// A value of this thread's own (install.hpp says why), with the present bit clear.
std::uint64_t frozen_value() {
  static std::atomic<std::uint64_t> next{1};
  static thread_local const std::uint64_t mine = next.fetch_add(1) << 1;
  return mine;
}

bool changes_pages(mmu::InvalidateEvent event) {
  return event == mmu::InvalidateEvent::unmap || event == mmu::InvalidateEvent::zap ||
         event == mmu::InvalidateEvent::remove || event == mmu::InvalidateEvent::reclaim ||
         event == mmu::InvalidateEvent::move || event == mmu::InvalidateEvent::protect;
}

} // namespace

template <class Visit>
void ModelStage2::each_page(std::uintptr_t start, std::uintptr_t end, Visit visit) {
  for (std::uintptr_t at = start; at < end; at += mmu::page_size)
    if (at >= base_ && (at - base_) >> mmu::page_shift < page_count)
      visit((at - base_) >> mmu::page_shift);
}

mmu::InstallStatus ModelStage2::install_one(std::uint64_t page, bool writable) {
  const std::uint64_t final_entry = (*generations_)[page].load(std::memory_order_acquire) << 8 |
                                    (writable ? writable_bit : 0) | present;
  std::atomic<std::uint64_t>& entry = entries_[page];
  if (kind_ == Kind::locked) {
    // A system call: it may take its time, and whoever calls may be preempted in it.
    const unsigned mood = installs_.fetch_add(1, std::memory_order_relaxed);
    if (mood % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
    if (mood % 8 == 0) std::this_thread::yield();
    const bool there = entry.exchange(final_entry, std::memory_order_acq_rel) == final_entry;
    return there ? mmu::InstallStatus::already_installed : mmu::InstallStatus::installed;
  }
  const std::uintptr_t at = base_ + (page << mmu::page_shift);
  std::uint64_t expected = entry.load(std::memory_order_acquire);
  const bool enough = !writable || (expected & writable_bit) != 0;
  if ((expected & present) != 0 && enough) return mmu::InstallStatus::already_installed;
  // The page is locked, so no range over it can end before this returns: in progress is all to ask.
  const bool usable = expected == 0 || (expected & present) != 0;
  if (!usable || !entry.compare_exchange_strong(expected, frozen_value()))
    return mmu::InstallStatus::retry;
  mmu::StdAtomics::fence(); // pairs with the fence in InvalidateSeq::begin()
  const bool fresh = !mm_->notifiers().sequence().in_progress(at, at + mmu::page_size);
  expected = frozen_value();
  const bool kept = entry.compare_exchange_strong(expected, fresh ? final_entry : 0);
  return fresh && kept ? mmu::InstallStatus::installed : mmu::InstallStatus::retry;
}

mmu::InstallResult ModelStage2::install(const mmu::InstallRequest& run) {
  const std::uint64_t first = (run.address - base_) >> mmu::page_shift;
  check(run.address >= base_ && first + run.pages <= page_count, "an install outside of the table");
  for (std::size_t i = 0; i < run.pages; ++i)
    if (const mmu::InstallStatus status = install_one(first + i, run.writable);
        status != mmu::InstallStatus::installed)
      return {status, i};
  return {mmu::InstallStatus::installed, run.pages};
}

void ModelStage2::empty(std::uintptr_t start, std::uintptr_t end) {
  each_page(start, end, [&](std::uint64_t page) { entries_[page].exchange(0); });
}

bool ModelStage2::invalidate_range_start(const mmu::NotifierRange& range) {
  if (kind_ == Kind::frozen) empty(range.start, range.end);
  return true;
}

void ModelStage2::flush_range(std::uintptr_t start, std::uintptr_t end) {
  if (kind_ == Kind::locked) empty(start, end);
  for (std::mutex& vcpu : gate_->inside) const std::lock_guard out(vcpu);
}

void ModelStage2::invalidate_range_end(const mmu::NotifierRange& range) {
  if (!changes_pages(range.event)) return;
  // Time for a fault that was preempted before the range to come back with what it had resolved.
  if (ends_.fetch_add(1, std::memory_order_relaxed) % 4 == 0)
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  each_page(range.start, range.end, [&](std::uint64_t page) {
    check(translate(page).generation == 0,
          "page {} is mapped ({}) at the end of its invalidation (I20)", page,
          kind_ == Kind::frozen ? "frozen" : "locked");
  });
}

} // namespace slat::torture
