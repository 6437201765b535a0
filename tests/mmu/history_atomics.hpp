// An atomics policy that remembers: every write of an atomic is reported, in order, so that a test can
// look at the whole of a table as it is after each single write; and a test may step in before a CAS.
#pragma once

#include "mmu/atomics.hpp"

#include <functional>
#include <utility>

namespace slat::mmu::testing {

struct HistoryAtomics : StdAtomics {
  /// Runs after every write of this thread, with itself switched off.
  inline static thread_local std::function<void()> after_write;

  /// Runs once, before this thread's next CAS (or the `skip`-th after it).
  inline static thread_local std::function<void()> before_cas;
  inline static thread_local unsigned skip = 0;

  inline static thread_local std::uint64_t writes = 0;

  static void wrote() {
    ++writes;
    if (!after_write) return;
    const auto hook = std::exchange(after_write, nullptr);
    hook();
    after_write = hook;
  }

  static void step_in() {
    if (!before_cas) return;
    if (skip > 0) {
      --skip;
      return;
    }
    const auto hook = std::exchange(before_cas, nullptr);
    hook();
  }

  template <class T> class atomic : public std::atomic<T> {
   public:
    using std::atomic<T>::atomic;

    void store(T value, std::memory_order order) {
      std::atomic<T>::store(value, order);
      wrote();
    }

    T exchange(T value, std::memory_order order) {
      const T old = std::atomic<T>::exchange(value, order);
      wrote();
      return old;
    }

    bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) {
      return compare_exchange_strong(expected, desired, success, failure);
    }

    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure) {
      step_in();
      const bool done =
          std::atomic<T>::compare_exchange_strong(expected, desired, success, failure);
      if (done) wrote();
      return done;
    }
  };
};

} // namespace slat::mmu::testing
