#include "slat/bench_plain_map.hpp"

#include "slat/bench_threads.hpp"

#include <bit>
#include <mutex>

namespace slat::tool {

PlainMap::PlainMap(const BenchSpace& space) : pages_(space.pages().begin(), space.pages().end()) {
  for (const std::uintptr_t page : pages_) entries_[page] = {page + mmu::page_size, mmu::vm_read};
}

double PlainMap::run(Workload workload, unsigned threads, unsigned writer_rate, double seconds) {
  const auto read = [&](std::uintptr_t address) {
    const std::shared_lock lock(mutex_);
    auto entry = entries_.upper_bound(address);
    const bool found = entry != entries_.begin() && (--entry)->second.end > address;
    [[maybe_unused]] volatile bool used = found;
  };
  const auto replace = [&](std::uintptr_t address) {
    {
      const std::lock_guard lock(mutex_);
      entries_.erase(address);
    }
    const std::lock_guard lock(mutex_);
    entries_[address] = {address + mmu::page_size, mmu::vm_read};
  };
  return operations_per_second(
      threads, seconds,
      [&](unsigned thread, const std::atomic<bool>& stop) {
        std::mt19937_64 random(thread + 1);
        const std::size_t mask = std::bit_floor(pages_.size()) - 1;
        std::uint64_t done = 0;
        while (!stop.load(std::memory_order_relaxed)) // only a wish
          for (int i = 0; i < 64; ++i, ++done) {
            const std::uintptr_t page = pages_[random() & mask];
            if (workload == Workload::map_unmap)
              replace(page);
            else
              read(page);
          }
        return done;
      },
      writer_rate, [&](std::uint64_t random) { replace(pages_[random % pages_.size()]); });
}

} // namespace slat::tool
