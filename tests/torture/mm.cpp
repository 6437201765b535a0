// Everything at once: vCPUs that fault, read and write; map, unmap, move, protect, lock, zap, remove
// and reclaim at random; the host's copies; ranges without a change. What a vCPU wrote must be there after a zap and gone after a remove
// or unmap (I38, I39); no translation outlives its page (I20); a page is filled once for each time that
// it was emptied (I40) and only while it is a hole.
#include "keeping_store.hpp"
#include "mmu/translation_cache.hpp"
#include "model_stage2.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

using namespace slat;
using torture::check;
using torture::page_count;
using torture::vcpu_limit;

namespace {

constexpr std::uint64_t remote_slot = 128; // behind the vCPUs' words, in units of eight bytes

std::atomic_ref<std::uint64_t> word_of(mmu::Backing& backing, std::uint64_t page,
                                       std::uint64_t slot) {
  return std::atomic_ref<std::uint64_t>(
      reinterpret_cast<std::uint64_t*>(backing.host_view(page))[slot]);
}

/// Fills with zeroes, which must be there already; sometimes slow, out of memory or broken.
class MoodySource final : public mmu::PageSource {
 public:
  MoodySource(torture::Generations& generations, std::uint64_t offset, bool may_sleep)
      : generations_(&generations), offset_(offset), may_sleep_(may_sleep) {}

  mmu::FillResult fill(mmu::Backing& backing, mmu::PageRun run) override {
    const std::uint64_t mood = moods_.fetch_add(1, std::memory_order_relaxed);
    if (mood % 397 == 0) return mmu::FillResult::no_memory;
    if (mood % 499 == 0) return mmu::FillResult::failed;
    if (may_sleep_ && mood % 8 == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(mood % 300));
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page) {
      check(backing.word(page).read().state() == mmu::PageState::filling,
            "filled, but not claimed");
      for (std::uint64_t slot = 0; slot <= remote_slot; ++slot)
        check(word_of(backing, page, slot).load(std::memory_order_relaxed) == 0,
              "page {} was empty, and yet holds data (I39)", page);
      (*generations_)[offset_ + page].fetch_add(1, std::memory_order_release);
    }
    fills_.fetch_add(run.count, std::memory_order_relaxed);
    return mmu::FillResult::filled;
  }

  [[nodiscard]] bool may_sleep() const override { return may_sleep_; }

  [[nodiscard]] std::string_view name() const override { return "moody"; }

  [[nodiscard]] std::uint64_t fills() const { return fills_.load(); }

 private:
  torture::Generations* const generations_;
  const std::uint64_t offset_;
  const bool may_sleep_;
  std::atomic<std::uint64_t> moods_{1};
  std::atomic<std::uint64_t> fills_{0};
};

/// Keeps copies; sometimes full, and sometimes a page is not to be had.
class MoodyStore final : public torture::KeepingStore {
 public:
  std::optional<std::uint32_t> put(mmu::PageBytes page) override {
    if (moods_.fetch_add(1, std::memory_order_relaxed) % 61 == 0) return std::nullopt;
    return KeepingStore::put(page);
  }

  mmu::FillResult load(std::uint32_t slot, mmu::PageRoom into) override {
    const std::uint64_t mood = moods_.fetch_add(1, std::memory_order_relaxed);
    if (mood % 211 == 0) return mmu::FillResult::no_memory;
    if (mood % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(mood % 300));
    const mmu::FillResult loaded = KeepingStore::load(slot, into);
    return mood % 1009 == 0 ? mmu::FillResult::failed : loaded;
  }

 private:
  std::atomic<std::uint64_t> moods_{1};
};

class MmTorture {
 public:
  // Two backings: the first half of the pages has a source that never sleeps, the second one that does.
  static constexpr std::uint64_t half = page_count / 2;

  // The last pages are never unmapped, but protected.
  static constexpr std::uint64_t protected_first = page_count - 4;

  explicit MmTorture(mmu::VmaLockDesign design) : owner_(torture::make_mm(design, counters_)) {
    for (std::uint64_t i = 0; i < 2; ++i) {
      auto source = std::make_unique<MoodySource>(generations_, i * half, i == 1);
      sources_[i] = source.get();
      auto backing = mmu::Backing::create("torture", half << mmu::page_shift, std::move(source));
      if (!backing) {
        fmt::print(stderr, "{}\n", backing.error().message);
        std::exit(2);
      }
      backings_[i].reset(*backing);
      backings_[i]->set_store(store_);
    }
    check(map(0, half) && map(half, half), "the first mapping");
    check(mm_.notifiers().register_notifier(translations_).has_value(), "registration");
    for (torture::ModelStage2* stage2 : {&frozen_, &locked_}) {
      check(mm_.notifiers().register_notifier(*stage2).has_value(), "registration");
      mm_.add_tlb_flusher(*stage2);
    }
  }

  ~MmTorture() {
    (void)mm_.unmap(base_, page_count << mmu::page_shift);
    mm_.notifiers().unregister_notifier(frozen_);
    mm_.notifiers().unregister_notifier(locked_);
    mm_.notifiers().unregister_notifier(translations_);
  }

  MmTorture(const MmTorture&) = delete;
  MmTorture& operator=(const MmTorture&) = delete;

  struct Vcpu {
    std::array<std::uint64_t, page_count> generation{}; // of the page when it was last written
    std::array<std::uint64_t, page_count> value{};      // what was written
  };

  void run_vcpu(torture::Worker& worker, unsigned self) {
    const std::uint64_t page = worker.below(page_count);
    torture::ModelStage2& stage2 = worker.one_in(2) ? frozen_ : locked_;
    if (access(stage2, vcpus_[self], self, page, worker.random())) return;
    const std::uintptr_t at = address_of(page);
    const std::uint64_t window = worker.one_in(3) ? 0 : 1 + worker.below(8);
    const std::uint64_t before = std::min(page, window);
    const mmu::FaultOutcome outcome = mmu::handle_mm_fault(
        mm_, {.address = at + worker.below(4096),
              .access = worker.one_in(2) ? mmu::vm_read : mmu::vm_write,
              .mmu = &stage2,
              .around_start = window == 0 ? 0 : address_of(page - before),
              .around_end = window == 0 ? 0 : address_of(page) + (window << mmu::page_shift)});
    check(outcome.result != mmu::FaultResult::failed, "an install failed");
    results_[std::size_t(outcome.result)].fetch_add(1, std::memory_order_relaxed);
  }

  void unmap_and_map(torture::Worker& worker) {
    worker.breathe(); // writers of the mm lock come first: under mmap-lock nobody else would get in
    const auto [first, count] = some_pages(worker, protected_first);
    auto gone = mm_.unmap(address_of(first), count << mmu::page_shift);
    check(gone.has_value(), "unmap: {}", gone ? "" : gone.error().message);
    if (worker.one_in(4)) std::this_thread::yield();
    if (map(first, count)) {
      changes_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    // Another mapper was quicker with a part of it, or it crosses the backings: piece by piece.
    for (std::uint64_t page = first; page < first + count; ++page) (void)map(page, 1);
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  void advise(torture::Worker& worker) {
    worker.breathe();
    const auto [first, count] = some_pages(worker);
    static constexpr mmu::Advice kinds[] = {
        mmu::Advice::dontneed, mmu::Advice::remove, mmu::Advice::dontneed, mmu::Advice::remove,
        mmu::Advice::willneed, mmu::Advice::cold,   mmu::Advice::pageout};
    const mmu::Advice advice = kinds[worker.below(std::size(kinds))];
    auto advised = mm_.advise(address_of(first), count << mmu::page_shift, advice);
    check(advised || may_refuse(advised.error().code), "advise: {}",
          advised ? "" : advised.error().message);
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  /// Away and back again. One worker: the other place is its own.
  void move(torture::Worker& worker) {
    worker.breathe();
    const auto [first, count] = some_pages(worker, page_count);
    const std::uint64_t bytes = count << mmu::page_shift;
    auto away = mm_.move(
        {.address = address_of(first), .old_length = bytes, .new_length = bytes, .to = elsewhere_});
    check(away || away.error().code == mmu::Errc::not_mapped, "move: {}",
          away ? "" : away.error().message);
    if (!away) return;
    if (worker.one_in(4)) std::this_thread::yield();
    auto back = mm_.move(
        {.address = elsewhere_, .old_length = bytes, .new_length = bytes, .to = address_of(first)});
    check(back.has_value(), "move back: {}", back ? "" : back.error().message);
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  /// One worker: what it forbids stays forbidden until it says otherwise.
  void protect(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t page = protected_first + worker.below(page_count - protected_first);
    const auto set = [&](std::uint32_t flags) {
      auto done = mm_.protect(address_of(page), mmu::page_size, flags);
      check(done || done.error().code == mmu::Errc::not_mapped, "protect: {}",
            done ? "" : done.error().message); // it may have been moved away
      return done.has_value();
    };
    if (set(worker.one_in(2) ? mmu::vm_read : mmu::vm_none)) {
      forbidden_[page].store(true);
      std::this_thread::yield();
      forbidden_[page].store(false);
    }
    (void)set(mmu::vm_read | mmu::vm_write);
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  void lock(torture::Worker& worker) {
    worker.breathe();
    const auto [first, count] = some_pages(worker, page_count);
    auto locked = mm_.lock(address_of(first), count << mmu::page_shift);
    check(locked || may_refuse(locked.error().code), "lock: {}",
          locked ? "" : locked.error().message);
    // Any of it may have been moved or unmapped meanwhile: page by page.
    for (std::uint64_t page = first; page < first + count; ++page)
      (void)mm_.unlock(address_of(page), mmu::page_size);
    changes_.fetch_add(1, std::memory_order_relaxed);
  }

  /// The host's own accesses. One worker: the word is its own.
  void copy(torture::Worker& worker) {
    const std::uint64_t page = worker.below(page_count);
    const std::uintptr_t at = address_of(page) + remote_slot * 8;
    std::uint64_t value = 0;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    if (translations_.read(at, bytes).result)
      check(value == 0 || value == remote_[page], "page {} holds {} for the host, not {} (I38)",
            page, value, remote_[page]);
    value = worker.random() | 1;
    if (translations_.write(at, bytes).result) {
      remote_[page] = value;
      copies_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  /// Neither the mm lock nor a VMA lock, page locks alone, and nothing else done. Only the faults' check of
  /// the sequence keeps them off the page between the flush and the end.
  void flush_page(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t page = worker.below(page_count);
    const std::uintptr_t at = address_of(page);
    auto scope = mm_.notifiers().invalidate_range_start(
        {at, at + mmu::page_size, mmu::InvalidateEvent::write_protect, worker.one_in(2)});
    if (!scope) return;
    word(page).lock(); // waits for installs and fills under way
    word(page).unlock(0, mmu::PageBits::installed);
    frozen_.flush_range(at, at + mmu::page_size);
    locked_.flush_range(at, at + mmu::page_size);
    if (worker.one_in(8)) std::this_thread::yield();
  }

  /// Away into the store.
  void reclaim_pages(torture::Worker& worker) {
    worker.breathe();
    const auto [first, count] = some_pages(worker);
    auto done = mm_.reclaim(address_of(first), count << mmu::page_shift);
    check(done.has_value(), "reclaim: {}", done ? "" : done.error().message);
  }

  /// What nobody is said to have written must hold what it held. One worker: a page has one tracker.
  void track(torture::Worker& worker) {
    worker.breathe();
    const auto [first, count] = some_pages(worker);
    auto done = mm_.track_writes(address_of(first), count << mmu::page_shift);
    check(done.has_value(), "track_writes: {}", done ? "" : done.error().message);
    alignas(64) std::array<std::byte, mmu::page_size> before, after;
    for (std::uint64_t page = first; page < first + count; ++page) {
      if (!mm_.read_unwritten(address_of(page), before)) continue;
      if (worker.one_in(4)) std::this_thread::yield();
      if (!mm_.read_unwritten(address_of(page), after)) continue;
      check(before == after,
            "page {} was written while its writes were tracked, and nobody was told", page);
      unwritten_.fetch_add(1, std::memory_order_relaxed);
    }
    if (worker.one_in(2)) (void)mm_.untrack_writes(address_of(first), count << mmu::page_shift);
  }

  /// Ranges without a change, some not blockable: faults in them wait, and go on.
  void bare_range(torture::Worker& worker) {
    worker.breathe();
    const auto [first, count] = some_pages(worker);
    auto scope = mm_.notifiers().invalidate_range_start(
        {address_of(first), address_of(first + count), mmu::InvalidateEvent::write_protect,
         worker.one_in(2)});
    if (scope && worker.one_in(4))
      std::this_thread::sleep_for(std::chrono::microseconds(worker.below(100)));
  }

  void finish() {
    check(changes_.load() < 1000 || accesses_.load() > 0, "nobody ever got at a page");
    check(mm_.notifiers().sequence().count() == 0, "a range never ended");
    check(mm_.fault_srcu().readers() == 0, "a fault never ended");
    for (std::uint64_t page = 0; page < page_count; ++page)
      check(!word(page).read().owned(), "page {} is owned by nobody: {:#x}", page,
            word(page).read().raw());
  }

  [[nodiscard]] std::string summary() {
    return fmt::format(
        "{} accesses, {} faults done ({} no_vma, {} poisoned, {} no_memory), {} fills, {} retries, "
        "{} waits, {} fallbacks, {} changes, {} copies, {} pages reclaimed, {} restored, "
        "{} tracked, {} written, {} not",
        accesses_.load(), results_[0].load(), result(mmu::FaultResult::no_vma),
        result(mmu::FaultResult::poisoned), result(mmu::FaultResult::no_memory),
        sources_[0]->fills() + sources_[1]->fills(), counters_.sum(mmu::Counter::fault_retry_count),
        counters_.sum(mmu::Counter::fault_wait_count),
        counters_.sum(mmu::Counter::mm_lock_fallback_count), changes_.load(), copies_.load(),
        counters_.sum(mmu::Counter::reclaimed_pages), counters_.sum(mmu::Counter::restored_pages),
        counters_.sum(mmu::Counter::write_tracked_pages),
        counters_.sum(mmu::Counter::tracked_write_count), unwritten_.load());
  }

  [[nodiscard]] std::string state() {
    std::string text = summary();
    text += fmt::format("; ranges in progress {}, faults {}\n", mm_.notifiers().sequence().count(),
                        mm_.fault_srcu().readers());
    for (std::uint64_t page = 0; page < page_count; ++page)
      if (word(page).read().owned())
        text += fmt::format("  page {}: {:#x}\n", page, word(page).read().raw());
    return text;
  }

 private:
  [[nodiscard]] std::uintptr_t address_of(std::uint64_t page) const {
    return base_ + (page << mmu::page_shift);
  }

  [[nodiscard]] mmu::PageWord& word(std::uint64_t page) const {
    return backings_[page / half]->word(page % half);
  }

  [[nodiscard]] std::uint64_t result(mmu::FaultResult which) const {
    return results_[std::size_t(which)].load();
  }

  std::pair<std::uint64_t, std::uint64_t> some_pages(torture::Worker& worker,
                                                     std::uint64_t limit = page_count) {
    const std::uint64_t first = worker.below(limit);
    return {first, 1 + worker.below(std::min<std::uint64_t>(12, limit - first))};
  }

  /// A hole, locked pages, or a page that the moody source would not fill.
  static bool may_refuse(mmu::Errc code) {
    return code == mmu::Errc::not_mapped || code == mmu::Errc::invalid_argument ||
           code == mmu::Errc::no_memory || code == mmu::Errc::poisoned;
  }

  bool map(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t i = first / half;
    if (first + count > (i + 1) * half) return false;
    auto mapped = mm_.map({.address = address_of(first),
                           .length = count << mmu::page_shift,
                           .backing = backings_[i].get(),
                           .pgoff = first - i * half});
    check(mapped || mapped.error().code == mmu::Errc::exists, "map: {}",
          mapped ? "" : mapped.error().message);
    return mapped.has_value();
  }

  /// One access of a vCPU through its translation; false if there is none.
  bool access(torture::ModelStage2& stage2, Vcpu& vcpu, unsigned self, std::uint64_t page,
              std::uint64_t value) {
    const std::lock_guard inside(gate_.inside[self]);
    const auto [mapped, writable] = stage2.translate(page);
    if (mapped == 0) return false;
    const std::uint64_t now = generations_[page].load(std::memory_order_acquire);
    check(mapped == now, "page {} was used by a translation of its fill {}, it is at {} (I20)",
          page, mapped, now);
    const auto bytes = word_of(*backings_[page / half], page % half, self);
    const std::uint64_t expected = vcpu.generation[page] == mapped ? vcpu.value[page] : 0;
    const std::uint64_t found = bytes.load(std::memory_order_relaxed);
    check(found == expected, "page {}, fill {}: vCPU {} reads {:#x}, wrote {:#x} (I38, I39)", page,
          mapped, self, found, expected);
    if (!writable) return false;
    check(!forbidden_[page].load(), "page {} is written after protect() has forbidden it", page);
    bytes.store(value, std::memory_order_relaxed);
    vcpu.generation[page] = mapped;
    vcpu.value[page] = value;
    accesses_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }

  mmu::Counters counters_;
  torture::Generations generations_{};
  torture::VcpuGate gate_;
  std::array<MoodySource*, 2> sources_{};
  MoodyStore store_; // outlives the backings
  std::array<mmu::BackingRef, 2> backings_;
  std::unique_ptr<mmu::AddressSpace> owner_;
  mmu::AddressSpace& mm_ = *owner_;
  mmu::TranslationCache translations_{mm_};
  const std::uintptr_t base_ = torture::isolated_addresses(2 * page_count << mmu::page_shift);
  const std::uintptr_t elsewhere_ = base_ + (page_count << mmu::page_shift);
  std::array<std::atomic<bool>, page_count> forbidden_{};
  torture::ModelStage2 frozen_{torture::ModelStage2::Kind::frozen, mm_, base_, generations_, gate_};
  torture::ModelStage2 locked_{torture::ModelStage2::Kind::locked, mm_, base_, generations_, gate_};
  std::array<Vcpu, vcpu_limit> vcpus_;
  std::array<std::uint64_t, page_count> remote_{}; // the copier's
  std::array<std::atomic<std::uint64_t>, 8> results_{};
  std::atomic<std::uint64_t> accesses_{0}, changes_{0}, copies_{0}, unwritten_{0};
};

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("mm", argc, argv, 3);
  MmTorture mm(torture.vma_lock());
  for (unsigned i = 0; i < std::min(torture.threads(), vcpu_limit); ++i)
    torture.add_worker(fmt::format("vcpu {}", i),
                       [&mm, i](torture::Worker& w) { mm.run_vcpu(w, i); });
  for (unsigned i = 0; i < 2; ++i)
    torture.add_worker(fmt::format("mapper {}", i),
                       [&](torture::Worker& w) { mm.unmap_and_map(w); });
  torture.add_worker("mover", [&](torture::Worker& w) { mm.move(w); });
  torture.add_worker("protecter", [&](torture::Worker& w) { mm.protect(w); });
  torture.add_worker("locker", [&](torture::Worker& w) { mm.lock(w); });
  torture.add_worker("adviser", [&](torture::Worker& w) { mm.advise(w); });
  torture.add_worker("copier", [&](torture::Worker& w) { mm.copy(w); });
  torture.add_worker("flusher", [&](torture::Worker& w) { mm.flush_page(w); });
  torture.add_worker("reclaimer", [&](torture::Worker& w) { mm.reclaim_pages(w); });
  torture.add_worker("tracker", [&](torture::Worker& w) { mm.track(w); });
  torture.add_worker("ranger", [&](torture::Worker& w) { mm.bare_range(w); });
  return torture.run([&] { return mm.state(); },
                     [&] {
                       mm.finish();
                       return mm.summary();
                     });
}
