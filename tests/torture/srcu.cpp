// Grace periods and deferred calls of an SRCU domain whose readers sleep, with counters just below
// their wrap; and a second domain that a third thread hardly ever leaves (I25). Some readers are
// threads that come and go, at times more of them than there are thread slots of their own.
#include "mmu/srcu.hpp"

#include "age_torture.hpp"

#include <thread>
#include <vector>

using namespace slat;

int main(int argc, char** argv) {
  torture::Torture torture("srcu", argc, argv, 2);
  mmu::Srcu srcu(0xffffff00, std::chrono::microseconds(0));
  mmu::Srcu sluggish(0x7fffff00);
  torture::AgeTorture<mmu::Srcu> ages(srcu, /*readers_sleep=*/true);
  for (unsigned i = 0; i < torture.threads(); ++i)
    torture.add_worker(fmt::format("reader {}", i), [&](torture::Worker& w) { ages.read(w); });
  for (unsigned i = 0; i < 2; ++i)
    torture.add_worker(fmt::format("writer {}", i), [&](torture::Worker& w) { ages.write(w); });

  torture.add_worker("crowd", [&](torture::Worker& w) {
    const std::uint64_t count = w.one_in(8) ? mmu::thread_slots + 8 : 1 + w.below(4);
    std::vector<std::thread> crowd;
    for (std::uint64_t i = 0; i < count; ++i)
      crowd.emplace_back([&ages, seed = w.random()] {
        torture::Worker self("one of the crowd", 0, seed);
        for (int sections = 0; sections < 8; ++sections) ages.read(self);
      });
    for (std::thread& thread : crowd) thread.join();
  });

  // While this one sleeps, the writers above must make grace periods as if it did not exist.
  std::atomic<std::uint64_t> during{0};
  std::atomic<std::uint64_t> grace_periods{0};
  std::atomic<int> sleeps{0};
  torture.add_worker("sleeper", [&](torture::Worker&) {
    const mmu::Srcu::ReadGuard section(sluggish);
    const std::uint64_t before = grace_periods.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    during += grace_periods.load() - before;
    ++sleeps;
  });
  torture.add_worker("synchronizer", [&](torture::Worker&) {
    srcu.synchronize();
    ++grace_periods;
  });

  const auto summary = [&] {
    return fmt::format("{}; {} grace periods while another domain slept", ages.summary(),
                       during.load());
  };
  int outcome = torture.run(summary, [&] {
    torture::check(sleeps.load() < 5 || during.load() > 0,
                   "no grace period ends while a reader of another domain sleeps (I25)");
    return summary();
  });
  for (int age = 0; age < 10; ++age) srcu.barrier(); // calls that call again
  if (srcu.readers() != 0 || sluggish.readers() != 0) {
    fmt::print(stderr, "FAILED: {} readers are left\n", srcu.readers() + sluggish.readers());
    outcome = 1;
  }
  return outcome;
}
