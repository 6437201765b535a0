// Threads that begin together, timed.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

namespace slat::tool {

/// 1, 2, 4 ... up to the CPUs of this machine.
[[nodiscard]] inline std::vector<unsigned> thread_counts() {
  std::vector<unsigned> counts;
  for (unsigned n = 1; n <= std::max(1u, std::thread::hardware_concurrency()); n *= 2)
    counts.push_back(n);
  return counts;
}

/// work(0) ... work(threads - 1), each on a thread of its own, from one moment on; seconds until the last is done.
template <class Work> double run_threads(unsigned threads, Work work) {
  using Clock = std::chrono::steady_clock;
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; ++i)
    running.emplace_back([&, i] {
      ready.fetch_add(1);
      while (!go.load()) std::this_thread::yield();
      work(i);
    });
  while (ready.load() != threads) std::this_thread::yield();
  const auto start = Clock::now();
  go.store(true);
  for (std::thread& thread : running) thread.join();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// work(thread, stop) on each thread until `stop` is true, which it asks relaxed (it is only a wish); it returns how many
/// operations it has done. Beside them, unless `rate` is 0, write(random number) so many times a second. Operations
/// per second, of all threads.
template <class Work, class Write>
double operations_per_second(unsigned threads, double seconds, Work work, unsigned rate,
                             Write write) {
  using Clock = std::chrono::steady_clock;
  std::atomic<bool> stop{false};
  std::vector<std::uint64_t> operations(std::size_t(threads) * 8); // a cache line each
  std::vector<std::thread> workers;
  const auto start = Clock::now();
  for (unsigned i = 0; i < threads; ++i)
    workers.emplace_back([&, i] { operations[std::size_t(i) * 8] = work(i, stop); });
  if (rate != 0)
    workers.emplace_back([&] {
      std::mt19937_64 random(rate);
      const auto period = std::chrono::nanoseconds(1'000'000'000 / rate);
      auto next = Clock::now();
      while (!stop.load(std::memory_order_relaxed)) { // only a wish
        write(random());
        next = std::max(next + period, Clock::now()); // a rate, not a quota
        std::this_thread::sleep_until(next);
      }
    });
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop.store(true, std::memory_order_relaxed); // only a wish
  for (std::thread& worker : workers) worker.join();
  std::uint64_t total = 0;
  for (const std::uint64_t count : operations) total += count;
  return double(total) / std::chrono::duration<double>(Clock::now() - start).count();
}

} // namespace slat::tool
