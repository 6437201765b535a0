// Subscribers that come and go, callbacks that sleep, non-blockable ranges that are refused, nested and
// parallel ranges, aging: and the books of every subscriber balance (I18, I19, I22, I23).
#include "mmu/notifier.hpp"
#include "mmu/host.hpp"
#include "mmu/interval_subscription.hpp"
#include "torture.hpp"

#include <array>
#include <mutex>
#include <thread>

using namespace slat;

namespace {

constexpr std::uint64_t pages = 32;

/// Counts the ranges over each page; its death is checked, so a callback after it shows (I23).
class Subscriber final : public mmu::Notifier {
 public:
  explicit Subscriber(std::uint64_t moods) : moods_(moods) {}

  ~Subscriber() override {
    for (const auto& open : open_)
      torture::check(open.load() == 0, "a range was never ended (I18)");
    alive_ = false;
  }

  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  bool invalidate_range_start(const mmu::NotifierRange& range) override {
    torture::check(alive_, "a callback after the subscriber had left (I23)");
    const std::uint64_t mood = calls_.fetch_add(1, std::memory_order_relaxed) * 7 + moods_;
    if (mood % 5 == 0) {
      if (!range.blockable) return false; // would have to sleep
      std::this_thread::sleep_for(std::chrono::microseconds(mood % 200));
    }
    for (std::uintptr_t at = range.start; at < range.end; at += mmu::page_size)
      ++open_[at >> mmu::page_shift];
    return true;
  }

  void invalidate_range_end(const mmu::NotifierRange& range) override {
    torture::check(alive_, "an end after the subscriber had left (I23)");
    for (std::uintptr_t at = range.start; at < range.end; at += mmu::page_size)
      torture::check(open_[at >> mmu::page_shift].fetch_sub(1) > 0,
                     "an end without its start (I19)");
  }

  bool clear_young(std::uintptr_t, std::uintptr_t) override {
    torture::check(alive_, "aging after the subscriber had left (I23)");
    std::this_thread::yield();
    return calls_.load(std::memory_order_relaxed) % 2 == 0;
  }

 private:
  const std::uint64_t moods_;
  std::atomic<bool> alive_{true};
  std::atomic<std::uint64_t> calls_{0};
  std::array<std::atomic<int>, pages> open_{};
};

class NotifierTorture {
 public:
  NotifierTorture() {
    torture::check(chain_.register_notifier(permanent_).has_value(), "registration");
  }

  ~NotifierTorture() { chain_.unregister_notifier(permanent_); }

  void range(torture::Worker& worker) { nest(worker, 0); }

  void come_and_go(torture::Worker& worker) {
    Subscriber guest(worker.random());
    auto registered = chain_.register_notifier(guest);
    torture::check(registered.has_value(), "registration");
    if (worker.one_in(2)) std::this_thread::sleep_for(std::chrono::microseconds(worker.below(500)));
    chain_.unregister_notifier(guest);
    visits_.fetch_add(1, std::memory_order_relaxed);
  }

  /// A user of one interval: what it looked up is gone after a range that began later.
  void watch_interval(torture::Worker& worker) {
    const std::uint64_t first = worker.below(pages - 4);
    std::mutex lock;
    mmu::IntervalSubscription subscription(chain_, first << mmu::page_shift,
                                           (first + 4) << mmu::page_shift,
                                           [&](const mmu::NotifierRange&) {
                                             const std::lock_guard guard(lock);
                                             return true;
                                           });
    torture::check(subscription.insert().has_value(), "registration");
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t seq = subscription.read_begin();
      const std::lock_guard guard(lock);
      if (subscription.read_retry(seq)) continue;
      for (std::uint64_t page = first; page < first + 4; ++page)
        torture::check(changing_[page].load() == 0, "used while it is being changed (I20)");
      uses_.fetch_add(1, std::memory_order_relaxed);
    }
    subscription.remove();
  }

  void age(torture::Worker& worker) {
    const std::uintptr_t start = worker.below(pages) << mmu::page_shift;
    young_ += chain_.clear_young(start, start + mmu::page_size) ? 1 : 0;
    (void)chain_.test_young(start, start + mmu::page_size);
    (void)chain_.clear_flush_young(start, start + mmu::page_size);
    std::this_thread::yield();
  }

  void finish() {
    torture::check(chain_.sequence().count() == 0, "{} ranges never ended",
                   chain_.sequence().count());
    torture::check(chain_.srcu().readers() == 0, "{} sections never ended",
                   chain_.srcu().readers());
  }

  [[nodiscard]] std::string summary() {
    return fmt::format("{} ranges, {} refused, {} visits, {} interval uses; in progress {}, "
                       "sections {}",
                       counters_.sum(mmu::Counter::invalidate_count),
                       counters_.sum(mmu::Counter::invalidate_refused_count), visits_.load(),
                       uses_.load(), chain_.sequence().count(), chain_.srcu().readers());
  }

 private:
  void nest(torture::Worker& worker, int depth) {
    const std::uint64_t first = worker.below(pages);
    const std::uint64_t count = 1 + worker.below(pages - first);
    const std::uintptr_t start = first << mmu::page_shift;
    const std::uintptr_t end = start + (count << mmu::page_shift);
    auto scope = chain_.invalidate_range_start(
        {start, end, mmu::InvalidateEvent::zap, /*blockable=*/!worker.one_in(3)});
    if (!scope) {
      torture::check(scope.error().code == mmu::Errc::would_block, "{}", scope.error().message);
      return;
    }
    torture::check(chain_.sequence().in_progress(start, end), "a range is not in progress (I22)");
    for (std::uint64_t page = first; page < first + count; ++page) ++changing_[page];
    if (depth < 3 && worker.one_in(4)) nest(worker, depth + 1);
    if (worker.one_in(32)) std::this_thread::sleep_for(std::chrono::microseconds(100));
    for (std::uint64_t page = first; page < first + count; ++page) --changing_[page];
  }

  mmu::Counters counters_;
  mmu::NotifierChain chain_{counters_};
  Subscriber permanent_{1};
  std::array<std::atomic<int>, pages> changing_{}; // ranges that are past their start
  std::atomic<std::uint64_t> visits_{0}, uses_{0}, young_{0};
};

} // namespace

int main(int argc, char** argv) {
  torture::Torture torture("notifier", argc, argv, 3);
  NotifierTorture chain;
  for (unsigned i = 0; i < torture.threads(); ++i)
    torture.add_worker(fmt::format("range {}", i), [&](torture::Worker& w) { chain.range(w); });
  for (unsigned i = 0; i < 2; ++i)
    torture.add_worker(fmt::format("visitor {}", i),
                       [&](torture::Worker& w) { chain.come_and_go(w); });
  torture.add_worker("interval", [&](torture::Worker& w) { chain.watch_interval(w); });
  torture.add_worker("ager", [&](torture::Worker& w) { chain.age(w); });
  const auto summary = [&] { return chain.summary(); };
  return torture.run(summary, [&] {
    chain.finish();
    return chain.summary();
  });
}
