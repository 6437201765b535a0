// A subscriber of slat::mmu: a table of translations (a device's IOTLB, say) that the address space knows nothing of, kept
// right by its notifiers. A page of it is used by reading a stamp. docs/subscriber.md explains each step.
//   slat-example-subscriber                   exits 0
//   slat-example-subscriber --without-check   leaves the deciding check out, and exits 1: a stale access
#include <mmu/address_space.hpp>
#include <mmu/zero_source.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace slat;
using mmu::page_size;

namespace {

constexpr std::size_t page_count = 64;
constexpr std::size_t bytes = page_count * page_size;

/// Each fill of a page gets a number of its own, from 1 up: what was freed reads as 0, or as a later number.
class StampSource final : public mmu::PageSource {
 public:
  mmu::FillResult fill(mmu::Backing& backing, mmu::PageRun run) override {
    if (auto ready = mmu::ZeroSource().fill(backing, run); ready != mmu::FillResult::filled)
      return ready;
    for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
      *reinterpret_cast<std::uint64_t*>(backing.host_view(page)) = next_.fetch_add(1);
    return mmu::FillResult::filled;
  }

  [[nodiscard]] bool may_sleep() const override { return false; }

  [[nodiscard]] std::string_view name() const override { return "stamps"; }

 private:
  std::atomic<std::uint64_t> next_{1};
};

class Table final : public mmu::Notifier {
 public:
  enum class Fetched { installed, late, failed };

  Table(mmu::AddressSpace& mm, std::uintptr_t start, bool check)
      : mm_(mm), start_(start), check_(check) {}

  /// Uses a page, and brings it in first if it has to. Any number of threads.
  void use(std::size_t page) {
    do {
      const mmu::MutexGuard guard(mutex_); // no range over the page gets past its start meanwhile
      if (const Entry& entry = entries_[page]; entry.host != nullptr) {
        if (*entry.host == 0 || *entry.host != entry.stamp) ++stale;
        ++uses;
        return;
      }
    } while (fetch(page) != Fetched::failed);
  }

  /// Brings a page in, once. `meanwhile` is for the demonstration: what happens to come between.
  Fetched fetch(std::size_t page, const std::function<void()>& meanwhile = [] {}) {
    const std::uintptr_t address = start_ + page * page_size;
    mmu::InvalidateSeq& sequence = mm_.notifiers().sequence();

    // 1. The snapshot comes before anything is looked up (I21).
    const std::uint64_t snapshot = sequence.snapshot();

    // 2. Make the page present, and find it. Both may sleep; no lock of ours is held.
    if (handle_mm_fault(mm_, {address}).result != mmu::FaultResult::done) return Fetched::failed;
    const std::uint64_t* host = nullptr;
    if (const mmu::VmaTicket vma = mm_.lock_vma_under_mm_lock(address); vma) {
      host = reinterpret_cast<const std::uint64_t*>(
          vma.view.backing->host_view(vma.view.page_of(address)));
      mm_.vma_end_read(vma);
    }
    if (host == nullptr) return Fetched::failed;
    meanwhile(); // from here on `host` is a guess, and is not followed

    // 3. Our intent is the lock that invalidate_range_start() takes. Then the deciding check, last (I20, I22).
    {
      const mmu::MutexGuard guard(mutex_);
      mmu::StdAtomics::fence(); // pairs with the fence in InvalidateSeq::begin()
      const auto staleness = sequence.stale(snapshot, address, address + page_size);
      if (staleness == mmu::Staleness::fresh || !check_) {
        entries_[page] = {host, *host};
        return Fetched::installed;
      }
    }
    ++late;
    sequence.wait(address, address + page_size); // 4. With nothing held. Returns if all is over.
    return Fetched::late;
  }

  bool invalidate_range_start(const mmu::NotifierRange& range) override {
    const std::size_t gone = drop(range);
    if (gone != 0) {
      // Who used the pages has to let go before we return. A device is asked, and answers when it can.
      if (!range.blockable) return false; // fewer entries are no harm; no end will come
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      dropped += gone;
    }
    return ++open, true;
  }

  void invalidate_range_end(const mmu::NotifierRange&) override { --open; }

  void release() override {
    drop({start_, start_ + bytes, mmu::InvalidateEvent::unmap});
  } // the last word

  std::atomic<unsigned long> uses{0}, stale{0}, late{0}, dropped{0}, open{0}; // open: ranges

 private:
  struct Entry {
    const std::uint64_t* host = nullptr;
    std::uint64_t stamp = 0;
  };

  std::size_t drop(const mmu::NotifierRange& range) {
    const mmu::MutexGuard guard(mutex_); // is never held for long: no sleep that would count
    std::size_t gone = 0;
    for (std::size_t page = 0; page < page_count; ++page) {
      const std::uintptr_t at = start_ + page * page_size;
      if (range.start <= at && at < range.end)
        gone += std::exchange(entries_[page], {}).host != nullptr;
    }
    return gone;
  }

  mmu::AddressSpace& mm_;
  const std::uintptr_t start_;
  const bool check_;
  mmu::Mutex mutex_; // a leaf: nothing that takes a lock is called under it
  std::array<Entry, page_count> entries_ SLAT_GUARDED_BY(mutex_);
};

int failed(const char* what) {
  return std::printf("FAIL: %s\n", what), 1;
}

} // namespace

int main(int argc, char** argv) {
  const bool check = argc < 2 || std::string_view(argv[1]) != "--without-check";
  mmu::Counters counters;
  auto made = mmu::AddressSpace::create({}, counters);
  auto backing = mmu::Backing::create("example", bytes, std::make_unique<StampSource>());
  if (!made || !backing) return failed("no address space, or no memory");
  mmu::AddressSpace& mm = **made;
  const mmu::BackingRef reference(*backing);
  const auto view = mm.map({.length = bytes, .backing = *backing});
  if (!view) return failed(view.error().message.c_str());
  Table table(mm, *view, check);
  if (!mm.notifiers().register_notifier(table)) return failed("not subscribed");
  const auto leave = [&](Table* left) { mm.notifiers().unregister_notifier(*left); };
  std::unique_ptr<Table, decltype(leave)> subscription(&table, leave); // before the table goes

  // A look-up that is too late, in slow motion.
  const auto remove = [&] { (void)mm.advise(*view, page_size, mmu::Advice::remove); };
  const bool installed = table.fetch(0, remove) == Table::Fetched::installed;
  table.use(0);
  if (installed || table.stale != 0) return failed("a stale access: page 0 was freed before");
  std::printf("late:   page 0 was freed between look-up and check: not installed\n");

  // A range that must not sleep is refused, and called off (I18).
  const mmu::NotifierRange range{*view, *view + page_size, mmu::InvalidateEvent::zap, false};
  if (mm.notifiers().invalidate_range_start(range))
    return failed("a range that may not sleep was accepted");
  std::printf("refuse: page 0 was in use, and the range could not wait for it\n");

  // Three users, and somebody who gives random pages back to the host, or only hides them.
  for (std::size_t page = 0; page < page_count; ++page) table.use(page);
  std::atomic<bool> over{false};
  std::vector<std::jthread> users;
  for (unsigned seed = 1; seed <= 3; ++seed)
    users.emplace_back([&, random = std::minstd_rand(seed)]() mutable {
      for (; !over; std::this_thread::yield()) table.use(random() % page_count);
    });
  std::minstd_rand random(7);
  int changes = 0;
  for (int change = 0; change < 1500; ++change) {
    const std::size_t first = random() % (page_count - 7);
    const auto advice = random() % 4 == 0 ? mmu::Advice::dontneed : mmu::Advice::remove;
    if (mm.advise(*view + first * page_size, (1 + random() % 8) * page_size, advice)) ++changes;
  }
  over = true;
  users.clear(); // joins
  std::printf("storm:  %d changes, %lu uses, %lu pages dropped, %lu look-ups late, %lu stale\n",
              changes, +table.uses, +table.dropped, +table.late, +table.stale);
  if (table.stale != 0) return failed("stale accesses");
  if (changes != 1500 || table.dropped < page_count) return failed("next to nothing happened");
  subscription.reset(); // no callback runs from here on (I23); each start has had its end (I18)
  return table.open == 0 ? (std::printf("PASS\n"), 0) : failed("a range without its end");
}
