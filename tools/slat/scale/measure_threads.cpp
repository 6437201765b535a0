// Two threads at a time, and what lines of cache cost between them.
#include "slat/scale/measure.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <sched.h>
#include <thread>

namespace slat::tool::scale {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned bursts = 150;

double ns_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::nano>(end - start).count();
}

} // namespace

double lower_quarter(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[(values.size() - 1) / 4];
}

double sample(unsigned batches, unsigned operations, const std::function<void()>& batch) {
  std::vector<double> values;
  for (unsigned i = 0; i < batches; ++i) {
    const auto start = Clock::now();
    batch();
    values.push_back(ns_between(start, Clock::now()) / double(operations));
  }
  return lower_quarter(std::move(values));
}

std::vector<int> two_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> found;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return {0};
  for (int cpu = 0; cpu < CPU_SETSIZE && found.size() < 2; ++cpu)
    if (CPU_ISSET(cpu, &set)) found.push_back(cpu);
  return found;
}

void bind_to(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  (void)sched_setaffinity(0, sizeof(set), &set);
}

double together(const std::vector<int>& on, const std::function<void(unsigned)>& burst) {
  struct Burst {
    Clock::time_point start, end;
  };

  const auto threads = unsigned(on.size());
  std::atomic<unsigned> arrived{0};
  std::array<std::array<Burst, bursts>, 2> ran;
  std::vector<std::thread> workers;
  for (unsigned thread = 0; thread < threads; ++thread)
    workers.emplace_back([&, thread] {
      bind_to(on[thread]);
      for (unsigned i = 0; i < bursts; ++i) {
        arrived.fetch_add(1);
        for (unsigned spins = 0; arrived.load() < (i + 1) * threads; ++spins)
          if (spins > 10'000) std::this_thread::yield(); // the other one is not running
        ran[thread][i].start = Clock::now();
        burst(thread);
        ran[thread][i].end = Clock::now();
      }
    });
  for (std::thread& worker : workers) worker.join();
  std::vector<double> took;
  for (unsigned i = bursts / 10; i < bursts; ++i) { // the first ones warm up
    const Burst& one = ran[0][i];
    const Burst& other = ran[threads - 1][i];
    const auto both = std::min(one.end, other.end) - std::max(one.start, other.start);
    const auto longest = std::max(one.end - one.start, other.end - other.start);
    if (both >= longest * 9 / 10)
      took.push_back(std::chrono::duration<double, std::nano>(longest).count());
  }
  if (took.size() < 5) return 0;
  std::nth_element(took.begin(), took.begin() + std::ptrdiff_t(took.size() / 2), took.end());
  return took[took.size() / 2];
}

double measure_transfer(int one, int other) {
  // Whose turn it is. A turn moves the line twice: to the one who waits for it, as a copy, and all
  // of it when he passes the turn on.
  struct alignas(128) Turn {
    std::atomic<unsigned> whose{0};
  } turn;

  constexpr unsigned turns = 1000; // of each, in a burst
  const double ns = together({one, other}, [&](unsigned me) {
    for (unsigned i = 0; i < turns; ++i) {
      // Acquire and release: as a lock would be passed on.
      while (turn.whose.load(std::memory_order_acquire) != me) {
      }
      turn.whose.store(1 - me, std::memory_order_release);
    }
  });
  return ns / (4. * turns);
}

double measure_contended_add(int one, int other) {
  struct alignas(128) Word {
    std::atomic<std::uint64_t> value{0};
  } word;

  constexpr unsigned adds = 4000; // of each, in a burst
  const double ns = together({one, other}, [&](unsigned) {
    for (unsigned i = 0; i < adds; ++i)
      word.value.fetch_add(1, std::memory_order_relaxed); // only its cost matters
  });
  return ns / (2. * adds);
}

double keep_time(double rmw_ns, double transfer_ns, double contended_ns) {
  // In transfer + keep there are keep / rmw adds.
  const double most = 10 * transfer_ns;
  if (contended_ns <= rmw_ns) return most;
  return std::min(most, rmw_ns * transfer_ns / (contended_ns - rmw_ns));
}

} // namespace slat::tool::scale
