// What the explorer itself must find, and at which bound. Their names begin with "self-": they fail, each by
// what it says.
#include "scenario.hpp"

#include "mmu/atomics.hpp"
#include "mmu/thread_safety.hpp"

namespace slat::explore {

namespace {

using mmu::StdAtomics;

/// Two increments that are not atomic: one preemption loses one.
class LostUpdate final : public Scenario {
 public:
  std::vector<std::function<void()>> bodies() override {
    const auto increment = [this] { value_.store(value_.load() + 1); };
    return {increment, increment};
  }

  void check() override { require(value_.load() == 2, "an increment is lost"); }

 private:
  StdAtomics::atomic<int> value_{0};
};

/// Each thread must be interrupted once, at the right place, between two steps that touch other objects.
class TwoPreemptions final : public Scenario {
 public:
  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              a_.store(1);
              const int seen = b_.load();
              a_.store(2);
              first_ = seen;
            },
            [this] {
              const int before = a_.load();
              b_.store(1);
              const int after = a_.load();
              second_ = before == 0 && after == 1;
            }};
  }

  void check() override { require(!(first_ == 1 && second_), "two threads met in the middle"); }

 private:
  StdAtomics::atomic<int> a_{0}, b_{0};
  int first_ = 0;
  bool second_ = false;
};

/// Locks taken in two orders.
class Deadlock final : public Scenario {
 public:
  std::vector<std::function<void()>> bodies() override {
    return {[this] { both(a_, b_); }, [this] { both(b_, a_); }};
  }

 private:
  static void both(NativeMutex& first, NativeMutex& second) {
    const std::lock_guard one(first);
    const std::lock_guard two(second);
  }

  NativeMutex a_, b_;
};

/// Waits for a flag without sleeping: not a failure, for the other thread is run first.
class Spin final : public Scenario {
 public:
  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              while (flag_.load() == 0) mmu::before_retry();
            },
            [this] { flag_.store(1); }};
  }

 private:
  StdAtomics::atomic<int> flag_{0};
};

/// The same with nobody to set it.
class Livelock final : public Scenario {
 public:
  std::vector<std::function<void()>> bodies() override {
    return {[this] {
      while (flag_.load() == 0) mmu::before_retry();
    }};
  }

 private:
  StdAtomics::atomic<int> flag_{0};
};

/// A sleeper that is not told.
class LostWake final : public Scenario {
 public:
  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              waiting_.store(1);
              if (word_.load() == 0) StdAtomics::wait_while(word_, 0);
            },
            [this] {
              const bool anybody = waiting_.load() != 0; // before the change: too early
              word_.store(1);
              if (anybody) StdAtomics::wake_all(word_);
            }};
  }

 private:
  StdAtomics::atomic<std::uint32_t> word_{0}, waiting_{0};
};

/// An object is freed after a grace period that began before the reader's section.
class FreedTooEarly final : public Scenario {
 public:
  FreedTooEarly() { object_.store(new StdAtomics::atomic<int>(1)); }

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              const unsigned section = domain_.read_lock();
              if (auto* const object = object_.load()) (void)object->load();
              domain_.read_unlock(section);
            },
            [this] {
              domain_.synchronize();
              delete object_.exchange(nullptr);
            }};
  }

 private:
  GracePeriods domain_;
  StdAtomics::atomic<StdAtomics::atomic<int>*> object_{nullptr};
};

constexpr ScenarioInfo scenarios[] = {
    {"self-lost-update", "fails with one preemption", Designs::any, make_scenario<LostUpdate>},
    {"self-two-preemptions", "fails with two", Designs::any, make_scenario<TwoPreemptions>},
    {"self-deadlock", "two locks in two orders", Designs::any, make_scenario<Deadlock>},
    {"self-spin", "a loop that waits; does not fail", Designs::any, make_scenario<Spin>},
    {"self-livelock", "the same for ever", Designs::any, make_scenario<Livelock>},
    {"self-lost-wake", "a futex nobody wakes", Designs::any, make_scenario<LostWake>},
    {"self-freed-too-early", "a grace period too early", Designs::any,
     make_scenario<FreedTooEarly>},
};

} // namespace

std::span<const ScenarioInfo> explorer_scenarios() {
  return scenarios;
}

} // namespace slat::explore
