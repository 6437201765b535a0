// Devices that pin, write, look again and release, against everything that can happen to a page: zap,
// remove, unmap and map, move, protect, and ranges that copy pages elsewhere, blockable or not. While
// a page is pinned it is neither freed nor refilled, nor moved, nor made read-only, and nobody else
// changes it (I26); and nothing is written to a page once it is unpinned, for an empty page is zero
// when it is filled again (I39).
#include "mmu/translation_cache.hpp"
#include "torture.hpp"

#include <algorithm>
#include <array>
#include <thread>

using namespace slat;
using torture::check;

namespace {

constexpr std::uint64_t pages = 48;
constexpr unsigned device_limit = 32;

std::atomic_ref<std::uint64_t> word_at(std::byte* page, std::uint64_t slot) {
  return std::atomic_ref<std::uint64_t>(reinterpret_cast<std::uint64_t*>(page)[slot]);
}

/// Fills with zeroes, which must be there already, and counts.
class ZeroCounter final : public mmu::PageSource {
 public:
  mmu::FillResult fill(mmu::Backing& backing, mmu::PageRun run) override {
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page) {
      for (std::uint64_t slot = 0; slot < device_limit; ++slot)
        check(word_at(backing.host_view(page), slot).load(std::memory_order_relaxed) == 0,
              "page {} was empty, and yet device {} has written to it (I26, I39)", page, slot);
      generations[page].fetch_add(1, std::memory_order_release);
    }
    return mmu::FillResult::filled;
  }

  [[nodiscard]] bool may_sleep() const override { return true; }

  [[nodiscard]] std::string_view name() const override { return "zero-counter"; }

  std::array<std::atomic<std::uint64_t>, pages> generations{};
};

class DmaTorture {
 public:
  explicit DmaTorture(mmu::VmaLockDesign design) : mm_(torture::make_mm(design, counters_)) {
    auto source = std::make_unique<ZeroCounter>();
    source_ = source.get();
    auto backing = mmu::Backing::create("torture", pages << mmu::page_shift, std::move(source));
    if (!backing) {
      fmt::print(stderr, "{}\n", backing.error().message);
      std::exit(2);
    }
    backing_.reset(*backing);
    check(mm_->notifiers().register_notifier(translations_).has_value(), "registration");
    map(0, pages);
  }

  ~DmaTorture() {
    for (const std::uintptr_t base : bases_) (void)mm_->unmap(base, pages << mmu::page_shift);
    mm_->notifiers().unregister_notifier(translations_);
  }

  DmaTorture(const DmaTorture&) = delete;
  DmaTorture& operator=(const DmaTorture&) = delete;

  void use(torture::Worker& worker, unsigned self) {
    const std::uint64_t page = worker.below(pages);
    const std::uint64_t length = (1 + worker.below(3)) * mmu::page_size;
    const std::uintptr_t address = bases_[worker.below(2)] + (page << mmu::page_shift);
    const std::uint32_t access = worker.one_in(4) ? mmu::vm_read : mmu::vm_write;
    mmu::TranslationCache::Pin pin;
    if (worker.one_in(3)) {
      auto tried = translations_.try_pin(address, length, access);
      if (!tried) return;
      pin = std::move(*tried);
    } else {
      auto pinned = translations_.pin(address, length, access);
      if (!pinned) {
        const mmu::Errc code = pinned.error().code;
        check(code == mmu::Errc::not_mapped || code == mmu::Errc::access_denied, "pin: {}",
              pinned.error().message);
        return;
      }
      pin = std::move(*pinned);
    }
    use_pages(worker, self, address, pin.bytes(), access);
    // A second one without sleeping, anywhere: no lock order between pins.
    if (worker.one_in(8))
      if (auto more = translations_.try_pin(bases_[0] + (worker.below(pages) << mmu::page_shift), 8,
                                            mmu::vm_read))
        (void)word_at(more->bytes().data(), self).load(std::memory_order_relaxed);
    pins_.fetch_add(1, std::memory_order_relaxed);
  }

  /// The one thread that changes what is mapped where, and so knows it.
  void remap(torture::Worker& worker) {
    worker.breathe(); // writers of the mm lock come first: under mmap-lock nobody else would get in
    const std::uint64_t first = worker.below(pages);
    const std::uint64_t count = 1 + worker.below(std::min<std::uint64_t>(6, pages - first));
    for (std::uint64_t page = first; page < first + count; ++page) {
      const std::uintptr_t at = where_[page].load();
      const std::uintptr_t to =
          bases_[at == bases_[0] + (page << mmu::page_shift) ? 1 : 0] + (page << mmu::page_shift);
      switch (worker.below(3)) {
      case 0:
        leave(page);
        check(mm_->unmap(at, mmu::page_size).has_value(), "unmap");
        if (worker.one_in(4)) std::this_thread::yield();
        map(page, 1);
        break;
      case 1: {
        leave(page);
        auto moved = mm_->move(
            {.address = at, .old_length = mmu::page_size, .new_length = mmu::page_size, .to = to});
        check(moved.has_value(), "move: {}", moved ? "" : moved.error().message);
        where_[page] = to;
        break;
      }
      case 2:
        check(mm_->protect(at, mmu::page_size, mmu::vm_read).has_value(), "protect");
        read_only_[page] = true;
        if (worker.one_in(4)) std::this_thread::yield();
        read_only_[page] = false;
        check(mm_->protect(at, mmu::page_size, mmu::vm_read | mmu::vm_write).has_value(),
              "protect");
        break;
      }
    }
    changes_.fetch_add(count, std::memory_order_relaxed);
  }

  void advise(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t first = worker.below(pages);
    const std::uint64_t count = 1 + worker.below(std::min<std::uint64_t>(6, pages - first));
    constexpr std::array advices = {mmu::Advice::dontneed, mmu::Advice::remove,
                                    mmu::Advice::remove};
    auto advised = mm_->advise(bases_[worker.below(2)] + (first << mmu::page_shift),
                               count << mmu::page_shift, advices[worker.below(3)]);
    check(advised || advised.error().code == mmu::Errc::not_mapped, "advise: {}",
          advised ? "" : advised.error().message);
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  /// As a migration would: nobody writes to the page while it is copied.
  void copy_away(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t page = worker.below(pages);
    const std::uintptr_t at = where_[page].load();
    if (at == 0) return;
    auto range = mm_->notifiers().invalidate_range_start(
        {at, at + mmu::page_size, mmu::InvalidateEvent::write_protect, worker.one_in(2)});
    if (!range) return;
    if (where_[page].load() != at) return; // it has moved in between: not our page's range
    std::array<std::uint64_t, device_limit> before{};
    std::byte* const bytes = backing_->host_view(page);
    backing_->word(page).lock(); // against its being filled
    for (std::uint64_t slot = 0; slot < device_limit; ++slot)
      before[slot] = word_at(bytes, slot).load(std::memory_order_relaxed);
    std::this_thread::yield();
    const bool still = where_[page].load() == at; // or it is being moved: writers follow
    for (std::uint64_t slot = 0; slot < device_limit && still; ++slot) {
      const std::uint64_t now = word_at(bytes, slot).load(std::memory_order_relaxed);
      check(now == before[slot] || now == 0 || where_[page].load() != at,
            "page {} was written to by device {} while it was copied (I26)", page, slot);
    }
    backing_->word(page).unlock();
    copies_.fetch_add(1, std::memory_order_relaxed);
  }

  void finish() {
    check(changes_.load() < 1000 || pins_.load() > 0, "nobody ever pinned a page");
    check(translations_.pins() == 0, "{} pins are left", translations_.pins());
    check(mm_->notifiers().sequence().count() == 0, "a range never ended");
    for (std::uint64_t page = 0; page < pages; ++page)
      check(backing_->word(page).read().pins() == 0 && !backing_->word(page).read().owned(),
            "page {} is pinned or owned by nobody: {:#x}", page, backing_->word(page).read().raw());
  }

  [[nodiscard]] std::string summary() {
    return fmt::format("{} pins ({} hits, {} misses), {} changes, {} waited for pins, {} refused, "
                       "{} copies; in progress {}",
                       pins_.load(), counters_.sum(mmu::Counter::translation_hit_count),
                       counters_.sum(mmu::Counter::translation_miss_count), changes_.load(),
                       counters_.sum(mmu::Counter::pin_wait_count),
                       counters_.sum(mmu::Counter::invalidate_refused_count), copies_.load(),
                       mm_->notifiers().sequence().count());
  }

 private:
  /// Before the page is unmapped or moved: from here on pins of it may be at either place.
  void leave(std::uint64_t page) { where_[page] = 0; }

  void map(std::uint64_t first, std::uint64_t count) {
    auto mapped = mm_->map({.address = bases_[0] + (first << mmu::page_shift),
                            .length = count << mmu::page_shift,
                            .backing = backing_.get(),
                            .pgoff = first});
    check(mapped.has_value(), "map: {}", mapped ? "" : mapped.error().message);
    for (std::uint64_t page = first; page < first + count; ++page)
      where_[page] = bases_[0] + (page << mmu::page_shift);
  }

  /// What is pinned, page by page.
  void use_pages(torture::Worker& worker, unsigned self, std::uintptr_t address,
                 std::span<std::byte> bytes, std::uint32_t access) {
    const std::uint64_t first =
        std::uint64_t(bytes.data() - backing_->host_view(0)) >> mmu::page_shift;
    const std::uint64_t count = bytes.size() >> mmu::page_shift;
    Device& device = devices_[self];
    std::array<std::uint64_t, 3> generation{};
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t page = first + i;
      generation[i] = source_->generations[page].load(std::memory_order_acquire);
      const auto word = word_at(bytes.data() + (i << mmu::page_shift), self);
      const std::uint64_t expected =
          device.generation[page] == generation[i] ? device.value[page] : 0;
      const std::uint64_t found = word.load(std::memory_order_relaxed);
      check(found == expected, "page {}, fill {}: device {} reads {:#x}, wrote {:#x} (I38, I39)",
            page, generation[i], self, found, expected);
      if ((access & mmu::vm_write) == 0) continue;
      device.generation[page] = generation[i];
      device.value[page] = worker.random() | 1;
      word.store(device.value[page], std::memory_order_relaxed);
    }
    if (worker.one_in(4)) std::this_thread::yield();
    if (worker.one_in(32))
      std::this_thread::sleep_for(std::chrono::microseconds(worker.below(200)));
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t page = first + i;
      const std::uintptr_t where = where_[page].load();
      check(where == 0 || where == address + (i << mmu::page_shift),
            "page {} is pinned at {:#x}, and mapped at {:#x} (I26)", page, address, where);
      check((access & mmu::vm_write) == 0 || !read_only_[page].load(),
            "page {} is pinned for writing, and read-only (I26)", page);
      check(backing_->word(page).read().state() == mmu::PageState::present,
            "page {} was emptied while it was pinned (I26)", page);
      check(source_->generations[page].load(std::memory_order_acquire) == generation[i],
            "page {} was filled again while it was pinned (I26)", page);
      if ((access & mmu::vm_write) == 0) continue;
      check(word_at(bytes.data() + (i << mmu::page_shift), self).load(std::memory_order_relaxed) ==
                device.value[page],
            "page {} was changed while it was pinned (I26)", page);
    }
  }

  struct Device {
    std::array<std::uint64_t, pages> generation{}; // of the page when it was last written
    std::array<std::uint64_t, pages> value{};      // what was written
  };

  mmu::Counters counters_;
  mmu::BackingRef backing_;
  ZeroCounter* source_ = nullptr;
  const std::unique_ptr<mmu::AddressSpace> mm_;
  mmu::TranslationCache translations_{*mm_};
  const std::array<std::uintptr_t, 2> bases_ = {
      torture::isolated_addresses(pages << mmu::page_shift),
      torture::isolated_addresses(pages << mmu::page_shift)};
  std::array<Device, device_limit> devices_;
  std::array<std::atomic<std::uintptr_t>, pages> where_{}; // 0: on its way
  std::array<std::atomic<bool>, pages> read_only_{};
  std::atomic<std::uint64_t> pins_{0}, changes_{0}, copies_{0};
};

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("dma", argc, argv, 3);
  DmaTorture dma(torture.vma_lock());
  for (unsigned i = 0; i < std::min(torture.threads(), device_limit); ++i)
    torture.add_worker(fmt::format("device {}", i),
                       [&dma, i](torture::Worker& w) { dma.use(w, i); });
  torture.add_worker("remapper", [&](torture::Worker& w) { dma.remap(w); });
  torture.add_worker("adviser", [&](torture::Worker& w) { dma.advise(w); });
  torture.add_worker("copier", [&](torture::Worker& w) { dma.copy_away(w); });
  return torture.run([&] { return dma.summary(); },
                     [&] {
                       dma.finish();
                       return dma.summary();
                     });
}
