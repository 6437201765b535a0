#include "mmu/translation_cache.hpp"

#include "mmu/alloc.hpp"
#include "mmu/shared_copy.hpp"
#include "mmu/thread_slot.hpp"
#include "mmu/write_tracking.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <new>
#include <utility>

namespace slat::mmu {

namespace {

constexpr std::uint64_t large_view = std::uint64_t(16) << 20;
constexpr unsigned large_shift = 30;
constexpr unsigned small_shift = 21;

/// The same for one thread, another for every other.
std::uintptr_t this_thread() {
  static thread_local char here;
  return reinterpret_cast<std::uintptr_t>(&here);
}

std::uintptr_t page_of(std::uintptr_t address) {
  return address & ~(page_size - 1);
}

} // namespace

// ---- pins

TranslationCache::Pin::Pin(Pin&& other) noexcept
    : record_(std::exchange(other.record_, nullptr)), pages_(other.pages_), bytes_(other.bytes_),
      marks_(other.marks_) {}

TranslationCache::Pin& TranslationCache::Pin::operator=(Pin&& other) noexcept {
  if (this == &other) return *this;
  release();
  record_ = std::exchange(other.record_, nullptr);
  pages_ = other.pages_;
  bytes_ = other.bytes_;
  marks_ = other.marks_;
  return *this;
}

void TranslationCache::Pin::release() {
  if (record_ != nullptr) unpin_pages(*std::exchange(record_, nullptr), pages_, marks_);
}

Result<TranslationCache::Pin> TranslationCache::pin(std::uintptr_t address, std::uint64_t length,
                                                    std::uint32_t access) {
  SLAT_ASSERT(!pinned_by_this_thread(), "pin() may wait for a range that waits for this thread's "
                                        "other pin (I26)");
  SLAT_ASSERT(!mm_->notifiers().inside_call(), "pin() inside a range may wait for its end (I26)");
  const std::uintptr_t first = page_of(address);
  if (length == 0 || address + length < address)
    return fail(Errc::invalid_argument, 0, "nothing can be pinned in an empty range");
  Request request{address, 0, length, access, true};
  const std::uint64_t pages =
      std::min(max_pages, (page_of(address + length - 1) - first) / page_size + 1);
  request.pages = pages;
  InvalidateSeq& sequence = mm_->notifiers().sequence();
  for (;;) {
    Pin pin;
    switch (attempt(request, pin)) {
    case Outcome::pinned:
      return pin;
    case Outcome::not_present: {
      const FaultOutcome fault = mm_->handle_fault({.address = address,
                                                    .access = access,
                                                    .around_start = first,
                                                    .around_end = first + pages * page_size});
      switch (fault.result) {
      case FaultResult::done:
        break;
      case FaultResult::no_vma:
        return fail(Errc::not_mapped, 0, std::string(to_string(fault.result)));
      case FaultResult::denied:
        return fail(Errc::access_denied, 0, std::string(to_string(fault.result)));
      case FaultResult::poisoned:
        return fail(Errc::poisoned, 0, std::string(to_string(fault.result)));
      case FaultResult::no_memory:
        return fail(Errc::no_memory, ENOMEM, std::string(to_string(fault.result)));
      default:
        return fail(Errc::os_failed, 0, std::string(to_string(fault.result)));
      }
      break;
    }
    case Outcome::in_progress:
      // Perhaps only of the pages behind; the first one is enough.
      if (request.pages == 1) sequence.wait(first, first + page_size);
      request.pages = 1;
      break;
    case Outcome::again:
    case Outcome::would_block:
      break;
    case Outcome::not_mapped:
    case Outcome::released:
      return fail(Errc::not_mapped, 0, std::string(to_string(FaultResult::no_vma)));
    case Outcome::denied:
      return fail(Errc::access_denied, 0, std::string(to_string(FaultResult::denied)));
    case Outcome::no_memory:
      return fail(Errc::no_memory, ENOMEM, "the host has no memory for one more pin");
    }
  }
}

std::optional<TranslationCache::Pin>
TranslationCache::try_pin(std::uintptr_t address, std::uint64_t length, std::uint32_t access) {
  if (length == 0 || address + length < address) return std::nullopt;
  const std::uint64_t pages =
      std::min(max_pages, (page_of(address + length - 1) - page_of(address)) / page_size + 1);
  Pin pin;
  const Request request{address, pages, length, access, false};
  if (attempt(request, pin) != Outcome::pinned) return std::nullopt;
  return pin;
}

TranslationCache::Outcome TranslationCache::attempt(const Request& request, Pin& pin) {
  // A view that is found in here keeps its backing: whoever unmaps it drops it from the cache first
  // and lets the backing go after a grace period.
  const Srcu::ReadGuard section(mm_->fault_srcu());
  InvalidateSeq& sequence = mm_->notifiers().sequence();
  const std::uint64_t snapshot = sequence.snapshot(); // before anything is found (I21)
  std::optional<VmaView> view = find(request.address);
  const bool hit = view.has_value();
  if (!hit) {
    mm_->counters().add(Counter::translation_miss_count);
    Outcome why{};
    view = translate(request, why);
    if (!view) return why;
  }
  const std::uintptr_t first = page_of(request.address);
  if ((view->flags & request.access) != request.access) {
    // What is cached may be out of date, and then the answer too.
    StdAtomics::fence(); // pairs with the fence in InvalidateSeq::begin()
    switch (sequence.stale(snapshot, first, first + page_size)) {
    case Staleness::fresh:
      return Outcome::denied;
    case Staleness::moved:
      return Outcome::again;
    case Staleness::in_progress:
      return Outcome::in_progress;
    }
  }

  PinRecord* const record = claim_record(request.may_sleep);
  if (record == nullptr) return request.may_sleep ? Outcome::no_memory : Outcome::would_block;
  PinnedPages pages{first, std::min(request.pages, (view->end - first) >> page_shift),
                    &view->backing->word(view->page_of(first)), this_thread()};
  switch (try_pin_pages(*record, pages, snapshot, sequence)) {
  case PinAttempt::pinned:
    break;
  case PinAttempt::not_present:
    return Outcome::not_present;
  case PinAttempt::moved:
    return Outcome::again;
  case PinAttempt::in_progress:
    return Outcome::in_progress;
  }
  // The record is published and try_pin_pages() has fenced: pairs with the fence in release().
  if (released_.load(std::memory_order_relaxed)) {
    unpin_pages(*record, pages, 0);
    return Outcome::released;
  }
  if (hit)
    mm_->counters().add(Counter::translation_hit_count);
  else
    enter(request.address, *view, snapshot);
  if ((request.access & vm_write) != 0) note_writes(pages);
  const std::uint64_t offset = request.address - first;
  pin.record_ = record;
  pin.pages_ = pages;
  pin.bytes_ = {view->backing->host_view(view->page_of(first)) + offset,
                std::min(request.length, (pages.count << page_shift) - offset)};
  pin.marks_ = PageBits::accessed | ((request.access & vm_write) != 0 ? PageBits::dirty : 0);
  return Outcome::pinned;
}

/// Tracked pages that are about to be written. The pin is good, so track_writes() has not begun, and waits for it, or
/// is over, and its flags are there to see.
void TranslationCache::note_writes(const PinnedPages& pages) {
  for (std::uint64_t i = 0; i < pages.count; ++i)
    if (forget_tracking(pages.words[i])) mm_->counters().add(Counter::tracked_write_count);
  before_writes<StdAtomics>();
}

// ---- translations

unsigned TranslationCache::place_of(std::uintptr_t address, unsigned shift) {
  const std::uint64_t key = (address >> shift) * 2 + (shift == large_shift ? 1 : 0);
  return unsigned((key * 0x9e3779b97f4a7c15) >> 58);
}

std::optional<VmaView> TranslationCache::find(std::uintptr_t address) const {
  static_assert(entry_count == 64, "place_of() makes six bits");
  if (auto view = entries_[place_of(address, large_shift)].find(address)) return view;
  return entries_[place_of(address, small_shift)].find(address);
}

/// Looks the VMA up as a fault does. Empty: `why`.
std::optional<VmaView> TranslationCache::translate(const Request& request, Outcome& why) {
  VmaTicket ticket;
  if (request.may_sleep || mm_->vma_lock() != VmaLockDesign::mmap_lock)
    ticket = mm_->lock_vma_under_rcu(request.address);
  if (!ticket || !mm_->vma_commit(ticket)) {
    if (ticket) mm_->vma_end_read(ticket);
    why = Outcome::would_block;
    if (!request.may_sleep) return std::nullopt;
    ticket = mm_->lock_vma_under_mm_lock(request.address);
    why = Outcome::not_mapped;
    if (!ticket) return std::nullopt;
  }
  const VmaView view = ticket.view;
  mm_->vma_end_read(ticket); // whether that mattered the sequence tells
  return view;
}

/// Enters the view of `address`, found after `snapshot`, unless a range has touched any part of it
/// since.
void TranslationCache::enter(std::uintptr_t address, const VmaView& view, std::uint64_t snapshot) {
  if (!mutex_.try_lock()) return; // then at the next miss
  // A range that begins later drops the entry, for it takes the mutex after this. One that has taken
  // it already is visible here.
  StdAtomics::fence(); // pairs with the fence in InvalidateSeq::begin()
  if (mm_->notifiers().sequence().stale(snapshot, view.start, view.end) == Staleness::fresh)
    entries_[place_of(address, view.bytes() >= large_view ? large_shift : small_shift)].set(view);
  mutex_.unlock();
}

void TranslationCache::drop(std::uintptr_t start, std::uintptr_t end) {
  const MutexGuard guard(mutex_);
  for (TranslationEntry& entry : entries_)
    if (entry.overlaps(start, end)) entry.set({});
}

// ---- records

template <class Visit> void TranslationCache::for_each_record(Visit visit) const {
  for (Block* block = &records_; block != nullptr;
       block = block->next.load(std::memory_order_acquire)) // pairs with claim_record()
    for (PinRecord& record : block->records)
      if (!visit(record)) return;
}

PinRecord* TranslationCache::claim_record(bool may_grow) {
  const unsigned mine = thread_slot() % Block::size; // most often free, and its line here
  for (Block* block = &records_;;) {
    for (unsigned i = 0; i < Block::size; ++i) {
      PinRecord& record = block->records[(mine + i) % Block::size];
      if (record.try_claim()) return &record;
    }
    Block* next = block->next.load(std::memory_order_acquire); // pairs with the exchange below
    if (next == nullptr) {
      if (!may_grow) return nullptr;
      void* const memory = allocate(sizeof(Block), alignof(Block));
      if (memory == nullptr) return nullptr;
      Block* const fresh = new (memory) Block;
      // Release: whoever finds the block finds it made.
      if (block->next.compare_exchange_strong(next, fresh, std::memory_order_release,
                                              std::memory_order_acquire)) {
        next = fresh;
      } else {
        fresh->~Block();
        deallocate(memory); // another thread was quicker
      }
    }
    block = next;
  }
}

TranslationCache::~TranslationCache() {
  SLAT_CHECK(pins() == 0, "a translation cache goes away with pins held");
  for (Block* block = records_.next.load(std::memory_order_acquire); block != nullptr;) {
    Block* const next = block->next.load(std::memory_order_acquire); // nobody else is left
    block->~Block();
    deallocate(block);
    block = next;
  }
}

std::size_t TranslationCache::pins() const {
  std::size_t count = 0;
  for_each_record([&](const PinRecord& record) {
    count += record.read() ? 1 : 0;
    return true;
  });
  return count;
}

bool TranslationCache::pinned_by_this_thread() const {
  bool found = false;
  for_each_record([&](const PinRecord& record) {
    const auto pages = record.read();
    found = pages && pages->owner == this_thread();
    return !found;
  });
  return found;
}

// ---- ranges

bool TranslationCache::invalidate_range_start(const NotifierRange& range) {
  SLAT_ASSERT(!range.blockable || !pinned_by_this_thread(),
              "a range is started by a thread that holds a pin: it may wait for itself (I26)");
  if (!drain(range.start, range.end, range.blockable)) return false;
  drop(range.start, range.end);
  return true;
}

bool TranslationCache::drain(std::uintptr_t start, std::uintptr_t end, bool may_sleep) {
  const Srcu::ReadGuard section(mm_->fault_srcu()); // the words of pins that are dropped meanwhile
  Drain outcome = Drain::idle;
  for_each_record([&](const PinRecord& record) {
    const Drain one = drain_pages(record, start, end, may_sleep);
    if (one != Drain::idle) outcome = one;
    return one != Drain::pinned;
  });
  if (outcome == Drain::drained) mm_->counters().add(Counter::pin_wait_count);
  return outcome != Drain::pinned;
}

void TranslationCache::release() {
  released_.store(true, std::memory_order_relaxed); // ordered by the fence
  StdAtomics::fence(); // pairs with the fence in try_pin_pages(), before released_ is looked at
  (void)drain(0, ~std::uintptr_t(0), true);
  drop(0, ~std::uintptr_t(0));
}

// ---- copies

template <class Copy>
TranslationCache::Copied TranslationCache::each_pin(std::uintptr_t address, std::size_t length,
                                                    std::uint32_t access, Copy copy) {
  std::size_t done = 0;
  while (done < length) {
    auto here = pin(address + done, length - done, access);
    if (!here) return {done, forward(here)};
    copy(here->bytes(), done);
    done += here->bytes().size();
  }
  return {done, {}};
}

TranslationCache::Copied TranslationCache::read(std::uintptr_t address, std::span<std::byte> into) {
  return each_pin(address, into.size(), vm_read, [&](std::span<std::byte> page, std::size_t at) {
    copy_from_shared(into.subspan(at, page.size()), page.data());
  });
}

TranslationCache::Copied TranslationCache::write(std::uintptr_t address,
                                                 std::span<const std::byte> from) {
  return each_pin(address, from.size(), vm_write, [&](std::span<std::byte> page, std::size_t at) {
    copy_to_shared(page.data(), from.subspan(at, page.size()));
  });
}

} // namespace slat::mmu
