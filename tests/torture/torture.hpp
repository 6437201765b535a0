// The frame of a torture: options, workers that repeat a step until the time is over or a check fails,
// and a watchdog.
//
// Exit codes: 0 nothing was found, 1 a check failed, 2 the options make no sense; a worker that makes
// no step for 30 s aborts the process after the state is printed.
#pragma once

#include "mmu/address_space.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace slat::torture {

/// An address space of the design, whose sequences start just below 2^32 (I09).
std::unique_ptr<mmu::AddressSpace> make_mm(mmu::VmaLockDesign design, mmu::Counters& counters);

/// One thread. Its random numbers follow from the seed and its index alone.
class Worker {
 public:
  Worker(std::string name, unsigned index, std::uint64_t seed)
      : random(seed * 0x9e3779b97f4a7c15 + index), name_(std::move(name)), index_(index) {}

  /// A number in [0, limit).
  std::uint64_t below(std::uint64_t limit) { return random() % limit; }

  /// True once in `n` times.
  bool one_in(std::uint64_t n) { return below(n) == 0; }

  /// Now and then a moment's sleep, for workers whose steps would leave the others no room.
  void breathe();

  [[nodiscard]] const std::string& name() const { return name_; }

  [[nodiscard]] unsigned index() const { return index_; }

  std::mt19937_64 random;
  std::atomic<std::uint64_t> steps{0}; // read by the watchdog
  std::atomic<bool> finished{false};   // the same

 private:
  const std::string name_;
  const unsigned index_;
};

/// Notes a failure and ends the run; callable from any thread, also inside a callback.
void report_failure(const std::string& what);

/// Checks an invariant; what went wrong is said only if it did.
template <class... Args>
void check(bool holds, fmt::format_string<Args...> format, Args&&... args) {
  if (!holds) [[unlikely]]
    report_failure(fmt::format(format, std::forward<Args>(args)...));
}

/// `bytes` of address space that nothing else of this process will take when they are free: with guards
/// on both sides, and with more room above, where the kernel looks first.
std::uintptr_t isolated_addresses(std::size_t bytes);

class Torture {
 public:
  /// Parses --seconds, --seed and --threads; exits on --help and on nonsense.
  Torture(std::string name, int argc, char** argv, unsigned threads);
  /// What is destroyed between run() and here may check something too: a failure then ends the process with 1.
  ~Torture();
  Torture(const Torture&) = delete;
  Torture& operator=(const Torture&) = delete;

  [[nodiscard]] unsigned threads() const { return threads_; }

  [[nodiscard]] std::uint64_t seed() const { return seed_; }

  [[nodiscard]] mmu::VmaLockDesign vma_lock() const {
    return mmu::vma_lock_design(vma_lock_).value_or(mmu::VmaLockDesign::vma_refcount);
  }

  /// A thread that repeats `step`. All start together in run().
  void add_worker(const std::string& name, std::function<void(Worker&)> step);

  /// Runs the workers; prints the seed first and one summary line last. `state` is printed if the
  /// watchdog bites, `summary` at the end. Returns the exit code.
  int run(const std::function<std::string()>& state, const std::function<std::string()>& summary);

 private:
  void watch(const std::atomic<bool>& over, const std::function<std::string()>& state) const;

  const std::string name_;
  double seconds_ = 3;
  std::uint64_t seed_;
  unsigned threads_;
  std::string vma_lock_ = "vma-refcount";
  bool passed_ = false; // said run()
  std::vector<std::pair<std::unique_ptr<Worker>, std::function<void(Worker&)>>> workers_;
};

} // namespace slat::torture
