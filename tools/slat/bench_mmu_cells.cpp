#include "slat/bench_mmu_cells.hpp"

#include "mmu/address_space_of.hpp"
#include "mmu/rcu.hpp"
#include "mmu/vma_lock/all_designs.hpp"
#include "slat/bench_threads.hpp"

#include <random>

namespace slat::tool {

namespace {

constexpr std::uint64_t slice_pages = 64;        // of a thread, in what it fills and discards
constexpr std::uint64_t scratch_pages = 1 << 14; // of a thread, to map and unmap
constexpr std::uint64_t window_bytes = std::uint64_t(4) << 30;

/// Content costs the same in every design: none.
class NoContent final : public mmu::PageSource {
 public:
  mmu::FillResult fill(mmu::Backing&, mmu::PageRun) override { return mmu::FillResult::filled; }

  [[nodiscard]] bool may_sleep() const override { return false; }

  [[nodiscard]] std::string_view name() const override { return "none"; }
};

/// The section in which a design's readers look a VMA up.
template <class D> struct ReaderSection {
  explicit ReaderSection(mmu::AddressSpaceOf<D>&) {}

  mmu::rcu::ReadGuard section;
};

template <> struct ReaderSection<mmu::MmapLock> {
  explicit ReaderSection(mmu::AddressSpaceOf<mmu::MmapLock>& mm) : guard(mm.design().mm_lock) {}

  mmu::MmReadGuard guard;
};

template <> struct ReaderSection<mmu::Speculative> {
  explicit ReaderSection(mmu::AddressSpaceOf<mmu::Speculative>& mm) : section(mm.fault_srcu()) {}

  mmu::Srcu::ReadGuard section;
};

template <class D> void look_up(mmu::AddressSpace& mm, std::uintptr_t address) {
  auto& space = static_cast<mmu::AddressSpaceOf<D>&>(mm);
  const ReaderSection<D> section(space);
  auto* volatile found = space.design().tree.find(address);
  (void)found;
}

void look_up(mmu::AddressSpace& mm, std::uintptr_t address) {
  switch (mm.vma_lock()) {
#define SLAT_LOOK_UP(Design)                                                                       \
  case mmu::Design::kind:                                                                          \
    return look_up<mmu::Design>(mm, address);
    SLAT_FOR_EACH_DESIGN(SLAT_LOOK_UP)
#undef SLAT_LOOK_UP
  }
}

mmu::Result<mmu::BackingRef> backing(const char* name, std::uint64_t pages) {
  auto made = mmu::Backing::create(name, pages << mmu::page_shift, std::make_unique<NoContent>());
  if (!made) return mmu::forward(made);
  return mmu::BackingRef(*made);
}

} // namespace

struct BenchSpace::Subscriber final : mmu::Notifier {
  bool invalidate_range_start(const mmu::NotifierRange&) override { return true; }

  void invalidate_range_end(const mmu::NotifierRange&) override {}
};

struct BenchSpace::NowhereMmu final : mmu::SecondaryMmu {
  mmu::InstallResult install(const mmu::InstallRequest& run) override {
    return {mmu::InstallStatus::installed, run.pages};
  }
};

BenchSpace::BenchSpace()
    : subscriber_(std::make_unique<Subscriber>()), nowhere_(std::make_unique<NowhereMmu>()) {}

BenchSpace::~BenchSpace() {
  if (mm_) mm_->notifiers().unregister_notifier(*subscriber_);
}

mmu::Result<std::unique_ptr<BenchSpace>> BenchSpace::create(mmu::VmaLockDesign design,
                                                            unsigned vmas, unsigned threads) {
  std::unique_ptr<BenchSpace> space(new BenchSpace);
  auto mm = mmu::AddressSpace::create(
      {.vma_lock = design, .vma_limit = std::size_t(1) << 30, .window = window_bytes},
      space->counters_);
  if (!mm) return mmu::forward(mm);
  space->mm_ = std::move(*mm);
  if (auto ok = space->mm_->notifiers().register_notifier(*space->subscriber_); !ok)
    return mmu::forward(ok);
  const auto make = [&](mmu::BackingRef& into, std::uint64_t pages) -> mmu::Result<void> {
    auto made = backing("slat-bench", pages);
    if (!made) return mmu::forward(made);
    into = std::move(*made);
    return {};
  };
  const auto map = [&](const mmu::BackingRef& of, std::uint64_t pgoff, std::uint64_t pages) {
    return space->mm_->map(
        {.length = pages << mmu::page_shift, .backing = of.get(), .pgoff = pgoff});
  };
  if (auto ok = make(space->small_, 2 * vmas); !ok) return mmu::forward(ok);
  for (unsigned i = 0; i < vmas; ++i) {
    auto at = map(space->small_, 2 * i, 1); // every other page: they must not merge
    if (!at) return mmu::forward(at);
    space->pages_.push_back(*at);
    (void)mmu::handle_mm_fault(*space->mm_, {.address = *at, .mmu = space->nowhere_.get()});
  }
  if (auto ok = make(space->shared_, threads * slice_pages); !ok) return mmu::forward(ok);
  auto shared = map(space->shared_, 0, threads * slice_pages);
  if (!shared) return mmu::forward(shared);
  space->shared_start_ = *shared;
  for (unsigned i = 0; i < threads; ++i) {
    if (auto ok = make(space->own_.emplace_back(), slice_pages); !ok) return mmu::forward(ok);
    auto at = map(space->own_.back(), 0, slice_pages);
    if (!at) return mmu::forward(at);
    space->own_starts_.push_back(*at);
  }
  if (auto ok = make(space->scratch_, threads * scratch_pages); !ok) return mmu::forward(ok);
  return space;
}

void BenchSpace::fill_and_discard(std::uintptr_t start) {
  for (std::uint64_t page = 0; page < slice_pages; ++page)
    (void)mmu::handle_mm_fault(
        *mm_, {.address = start + (page << mmu::page_shift), .mmu = nowhere_.get()});
  (void)mm_->advise(start, slice_pages << mmu::page_shift, mmu::Advice::remove);
}

void BenchSpace::map_and_unmap(unsigned thread, std::uint64_t pages, bool touch) {
  const auto at = mm_->map({.length = pages << mmu::page_shift,
                            .backing = scratch_.get(),
                            .pgoff = thread * scratch_pages});
  if (!at) return;
  for (std::uint64_t page = 0; touch && page < pages; ++page)
    (void)mmu::handle_mm_fault(*mm_,
                               {.address = *at + (page << mmu::page_shift), .mmu = nowhere_.get()});
  (void)mm_->unmap(*at, pages << mmu::page_shift);
}

std::uint64_t BenchSpace::work(Workload workload, unsigned thread, const std::atomic<bool>& stop) {
  std::mt19937_64 random(thread + 1);
  const std::size_t mask = std::bit_floor(pages_.size()) - 1;
  std::uint64_t done = 0;
  while (!stop.load(std::memory_order_relaxed)) { // only a wish
    for (int i = 0; i < 64; ++i) {
      const std::uintptr_t page = pages_[random() & mask];
      switch (workload) {
      case Workload::lookup:
        look_up(*mm_, page);
        break;
      case Workload::lock: {
        const mmu::Srcu::ReadGuard section(mm_->fault_srcu());
        mmu::VmaTicket ticket = mm_->lock_vma_under_rcu(page);
        if (!ticket) ticket = mm_->lock_vma_under_mm_lock(page);
        if (ticket) mm_->vma_end_read(ticket);
        break;
      }
      case Workload::fault:
        (void)mmu::handle_mm_fault(*mm_, {.address = page, .mmu = nowhere_.get()});
        break;
      case Workload::notify:
        (void)mm_->notifiers().invalidate_range(
            {page, page + mmu::page_size, mmu::InvalidateEvent::reclaim});
        break;
      case Workload::srcu: {
        const mmu::Srcu::ReadGuard section(mm_->notifiers().srcu());
        break;
      }
      case Workload::map_unmap:
        map_and_unmap(thread, 16, false);
        i = 64;
        ++done;
        continue;
      case Workload::one_vma:
        fill_and_discard(shared_start_ + ((thread * slice_pages) << mmu::page_shift));
        done += slice_pages;
        i = 64;
        continue;
      case Workload::own_vma:
        fill_and_discard(own_starts_[thread]);
        done += slice_pages;
        i = 64;
        continue;
      case Workload::map_touch:
        map_and_unmap(thread, 1 + random() % 64, true);
        i = 64;
        ++done;
        continue;
      }
      ++done;
    }
  }
  return done;
}

double BenchSpace::run(Workload workload, unsigned threads, unsigned writer_rate, double seconds) {
  return operations_per_second(
      threads, seconds,
      [&](unsigned thread, const std::atomic<bool>& stop) { return work(workload, thread, stop); },
      writer_rate,
      [&](std::uint64_t random) {
        (void)mm_->advise(pages_[random % pages_.size()], mmu::page_size, mmu::Advice::dontneed);
      });
}

std::string_view to_string(Workload workload) {
  constexpr std::string_view names[] = {"lookup",    "lock",    "fault",   "notify",   "srcu",
                                        "map-unmap", "one-vma", "own-vma", "map-touch"};
  return names[std::size_t(workload)];
}

std::string_view describe(Workload workload) {
  constexpr std::string_view texts[] = {
      "find the VMA of a random address in the reader's section",
      "find a VMA, take its read lock, drop it",
      "a fault on a present page, installed into nothing",
      "start and end of a range, with one subscriber",
      "an SRCU read section",
      "map 16 pages, unmap them",
      "fill a page by a fault and discard it; all threads in one VMA",
      "the same, each thread in its own VMA",
      "map 1 to 64 pages, fault them in, unmap (like ebizzy)"};
  return texts[std::size_t(workload)];
}

} // namespace slat::tool
