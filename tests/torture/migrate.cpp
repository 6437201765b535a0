// Migration against all who look at a page: vCPUs by a stage-2 that remembers host addresses, devices by pins, zaps,
// reclaim. Whatever place a page has in the memfd, each of them finds at its address what it wrote there last (I38), a page is
// filled once (I40), and no translation leads to a place that the page has left (I20, I26).
#include "keeping_store.hpp"
#include "mmu/translation_cache.hpp"
#include "torture.hpp"

#include <array>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <span>
#include <thread>

using namespace slat;
using torture::check;

namespace {

constexpr std::uint64_t pages = 48;
constexpr std::uint64_t spare = 24;
constexpr unsigned user_limit = 32; // vCPUs, then the device

std::atomic_ref<std::uint64_t> word_at(std::byte* page, std::uint64_t slot) {
  return std::atomic_ref<std::uint64_t>(reinterpret_cast<std::uint64_t*>(page)[slot]);
}

class CountingZeroes final : public mmu::PageSource {
 public:
  mmu::FillResult fill(mmu::Backing& backing, mmu::PageRun run) override {
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      for (std::uint64_t slot = 0; slot < user_limit; ++slot)
        check(word_at(backing.host_view(page), slot).load(std::memory_order_relaxed) == 0,
              "place {} was empty, and yet holds data", page);
    fills_.fetch_add(run.count, std::memory_order_relaxed);
    return mmu::FillResult::filled;
  }

  [[nodiscard]] bool may_sleep() const override { return false; }

  [[nodiscard]] bool is_uniform() const override { return true; }

  [[nodiscard]] std::string_view name() const override { return "counting-zeroes"; }

  [[nodiscard]] std::uint64_t fills() const { return fills_.load(); }

 private:
  std::atomic<std::uint64_t> fills_{0};
};

/// KVM behind a guest view: entries are stored blindly under the page lock, and emptied by the flush.
class HostMmu final : public mmu::SecondaryMmu, public mmu::TlbFlusher {
 public:
  explicit HostMmu(std::uintptr_t base) : base_(base) {}

  mmu::InstallResult install(const mmu::InstallRequest& run) override {
    const std::uint64_t first = (run.address - base_) >> mmu::page_shift;
    for (std::uint64_t i = 0; i < run.pages; ++i)
      entries_[first + i].store(run.host + (i << mmu::page_shift), std::memory_order_release);
    return {mmu::InstallStatus::installed, run.pages};
  }

  [[nodiscard]] bool can_write_protect() const override { return false; }

  void flush_range(std::uintptr_t start, std::uintptr_t end) override {
    for (std::uintptr_t at = start; at < end; at += mmu::page_size)
      entries_[(at - base_) >> mmu::page_shift].store(nullptr, std::memory_order_release);
    for (std::mutex& vcpu : inside) const std::lock_guard out(vcpu);
  }

  /// The caller is inside. Acquire: pairs with install().
  [[nodiscard]] std::byte* translate(std::uint64_t page) const {
    return entries_[page].load(std::memory_order_acquire);
  }

  std::array<std::mutex, user_limit> inside; // a vCPU is, while it uses a translation

 private:
  const std::uintptr_t base_;
  std::array<std::atomic<std::byte*>, pages> entries_{};
};

class MigrateTorture {
 public:
  explicit MigrateTorture(mmu::VmaLockDesign design) : mm_(torture::make_mm(design, counters_)) {
    auto source = std::make_unique<CountingZeroes>();
    source_ = source.get();
    auto backing =
        mmu::Backing::create("torture", (pages + spare) << mmu::page_shift, std::move(source));
    if (!backing) {
      fmt::print(stderr, "{}\n", backing.error().message);
      std::exit(2);
    }
    backing_.reset(*backing);
    backing_->set_store(store_);
    check(mm_->notifiers().register_notifier(translations_).has_value(), "registration");
    mm_->add_tlb_flusher(stage2_);
    auto mapped =
        mm_->map({.address = base_, .length = pages << mmu::page_shift, .backing = backing_.get()});
    check(mapped.has_value(), "map: {}", mapped ? "" : mapped.error().message);
    for (std::uint64_t page = 0; page < pages; ++page) place_[page] = page;
  }

  ~MigrateTorture() {
    (void)mm_->unmap(base_, pages << mmu::page_shift);
    mm_->notifiers().unregister_notifier(translations_);
  }

  MigrateTorture(const MigrateTorture&) = delete;
  MigrateTorture& operator=(const MigrateTorture&) = delete;

  void run_vcpu(torture::Worker& worker, unsigned self) {
    const std::uint64_t page = worker.below(pages);
    {
      const std::lock_guard inside(stage2_.inside[self]);
      if (std::byte* const bytes = stage2_.translate(page)) return use(worker, self, page, bytes);
    }
    const std::uint64_t before = std::min<std::uint64_t>(page, worker.below(8));
    const auto outcome =
        mmu::handle_mm_fault(*mm_, {.address = at(page),
                                    .access = mmu::vm_write,
                                    .mmu = &stage2_,
                                    .around_start = at(page - before),
                                    .around_end = std::min(at(page) + 0x8000, at(pages))});
    check(outcome.result == mmu::FaultResult::done, "a fault ends in: {}",
          mmu::to_string(outcome.result));
  }

  void run_device(torture::Worker& worker, unsigned self) {
    const std::uint64_t page = worker.below(pages);
    auto pin = translations_.pin(at(page), mmu::page_size, mmu::vm_write);
    check(pin.has_value(), "pin: {}", pin ? "" : pin.error().message);
    if (!pin) return;
    use(worker, self, page, pin->bytes().data());
    if (worker.one_in(16))
      std::this_thread::sleep_for(std::chrono::microseconds(worker.below(100)));
    use(worker, self, page, pin->bytes().data());
  }

  /// The one thread that gives pages another place, and so knows it.
  void migrate(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t first = worker.below(pages);
    const std::uint64_t count = 1 + worker.below(std::min<std::uint64_t>(8, pages - first));
    const std::uint64_t to = worker.below(pages + spare - count + 1);
    bool free = true;
    for (const std::uint64_t place : place_) free &= place < to || to + count <= place;
    const auto done =
        mm_->migrate({.address = at(first), .length = count << mmu::page_shift, .pgoff = to});
    check(done.has_value() == free && (free || done.error().code == mmu::Errc::exists),
          "migrate to a place that is {}free: {}", free ? "" : "not ",
          done ? "done" : done.error().message);
    if (!done) return;
    for (std::uint64_t i = 0; i < count; ++i) place_[first + i] = to + i;
    migrations_.fetch_add(1, std::memory_order_relaxed);
  }

  void disturb(torture::Worker& worker) {
    worker.breathe();
    const std::uint64_t first = worker.below(pages);
    const std::uint64_t bytes = (1 + worker.below(std::min<std::uint64_t>(8, pages - first)))
                                << mmu::page_shift;
    switch (worker.below(3)) {
    case 0: {
      const auto done = mm_->advise(at(first), bytes, mmu::Advice::dontneed);
      check(done.has_value(), "zap: {}", done ? "" : done.error().message);
      break;
    }
    case 1: {
      const auto done = mm_->reclaim(at(first), bytes);
      check(done.has_value(), "reclaim: {}", done ? "" : done.error().message);
      break;
    }
    case 2: {
      const auto done = mm_->track_writes(at(first), bytes);
      check(done.has_value(), "track_writes: {}", done ? "" : done.error().message);
      break;
    }
    }
  }

  void finish() {
    check(source_->fills() <= pages, "{} fills of {} pages (I40)", source_->fills(), pages);
    check(mm_->notifiers().sequence().count() == 0, "a range never ended");
    for (const mmu::VmaView& vma : mm_->vmas())
      for (std::uint64_t page = 0; page < vma.pages().count; ++page)
        check(place_[((vma.start - base_) >> mmu::page_shift) + page] == vma.pgoff + page,
              "a page is not where it was sent");
    for (std::uint64_t place = 0; place < pages + spare; ++place) {
      const mmu::PageBits bits = backing_->word(place).read();
      const bool mapped = std::find(place_.begin(), place_.end(), place) != place_.end();
      check(!bits.owned() && bits.pins() == 0 && (mapped || bits.raw() == 0), "place {} is {:#x}",
            place, bits.raw());
    }
  }

  [[nodiscard]] std::string summary() {
    return fmt::format(
        "{} accesses, {} migrations of {} pages, {} fills, {} reclaimed, {} restored, "
        "{} retries, {} waits",
        accesses_.load(), migrations_.load(), counters_.sum(mmu::Counter::migrated_pages),
        source_->fills(), counters_.sum(mmu::Counter::reclaimed_pages),
        counters_.sum(mmu::Counter::restored_pages), counters_.sum(mmu::Counter::fault_retry_count),
        counters_.sum(mmu::Counter::fault_wait_count));
  }

 private:
  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const {
    return base_ + (page << mmu::page_shift);
  }

  /// Reads and writes the user's own word of the page.
  void use(torture::Worker& worker, unsigned self, std::uint64_t page, std::byte* bytes) {
    const auto word = word_at(bytes, self);
    const std::uint64_t found = word.load(std::memory_order_relaxed);
    std::uint64_t& last = written_[self][page];
    check(found == last, "page {}: user {} reads {:#x}, wrote {:#x} (I38)", page, self, found,
          last);
    last = worker.random() | 1;
    word.store(last, std::memory_order_relaxed);
    accesses_.fetch_add(1, std::memory_order_relaxed);
  }

  mmu::Counters counters_;
  torture::KeepingStore store_; // outlives the backing
  mmu::BackingRef backing_;
  CountingZeroes* source_ = nullptr;
  const std::uintptr_t base_ = torture::isolated_addresses(pages << mmu::page_shift);
  const std::unique_ptr<mmu::AddressSpace> mm_;
  mmu::TranslationCache translations_{*mm_};
  HostMmu stage2_{base_};
  std::array<std::array<std::uint64_t, pages>, user_limit> written_{}; // each row its user's
  std::array<std::uint64_t, pages> place_{};                           // the migrator's
  std::atomic<std::uint64_t> accesses_{0}, migrations_{0};
};

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("migrate", argc, argv, 2);
  MigrateTorture migrate(torture.vma_lock());
  const unsigned vcpus = std::min(torture.threads(), user_limit - 1);
  for (unsigned i = 0; i < vcpus; ++i)
    torture.add_worker(fmt::format("vcpu {}", i),
                       [&migrate, i](torture::Worker& w) { migrate.run_vcpu(w, i); });
  torture.add_worker("device", [&](torture::Worker& w) { migrate.run_device(w, user_limit - 1); });
  torture.add_worker("migrator", [&](torture::Worker& w) { migrate.migrate(w); });
  torture.add_worker("disturber", [&](torture::Worker& w) { migrate.disturb(w); });
  return torture.run([&] { return migrate.summary(); },
                     [&] {
                       migrate.finish();
                       return migrate.summary();
                     });
}
