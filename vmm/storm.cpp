#include "vmm/storm.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <pthread.h>

namespace slat::vmm {

ZapStorm::ZapStorm(GuestRam& ram, const StormOptions& options)
    : ram_(&ram), options_(options), thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), "slat-storm");
}

ZapStorm::~ZapStorm() {
  (void)finish();
}

const std::string& ZapStorm::finish() {
  stopping_.store(true, std::memory_order_relaxed); // only a wish
  if (thread_.joinable()) thread_.join();
  return error_;
}

void ZapStorm::run() {
  using Clock = std::chrono::steady_clock;
  std::mt19937_64 random(options_.seed);
  const unsigned size_bits = unsigned(std::bit_width(options_.max_pages));
  const auto period = std::chrono::nanoseconds(1'000'000'000 / std::max(1u, options_.rate));
  auto next = Clock::now();
  while (!stopping_.load(std::memory_order_relaxed)) { // see finish()
    const auto regions = ram_->regions();
    const GuestRam::Region& region = regions[random() % regions.size()];
    const std::uint64_t pages = region.gpa.size >> mmu::page_shift;
    const std::uint64_t wanted = (std::uint64_t(1) << (random() % size_bits)) + (random() % 3);
    const std::uint64_t count = std::min({wanted, options_.max_pages, pages});
    const std::uint64_t first = random() % (pages - count + 1);
    auto done = ram_->mm().advise(region.guest_view + (first << mmu::page_shift),
                                  count << mmu::page_shift, mmu::Advice::dontneed);
    if (!done) {
      error_ = done.error().message;
      return;
    }
    ranges_.fetch_add(1, std::memory_order_relaxed); // a sum
    // Behind schedule is not made up for: a rate, not a quota.
    next = std::max(next + period, Clock::now());
    while (!stopping_.load(std::memory_order_relaxed) && Clock::now() < next)
      std::this_thread::sleep_for(
          std::min<std::chrono::nanoseconds>(next - Clock::now(), std::chrono::milliseconds(20)));
  }
}

} // namespace slat::vmm
