// An atomics policy with schedule points: a test stops a thread inside a protocol, between two of its
// steps, and lets others run there. The protocol headers are used unchanged.
#pragma once

#include "mmu/atomics.hpp"

#include <functional>
#include <thread>
#include <utility>

namespace slat::mmu::testing {

struct HookedAtomics : StdAtomics {
  /// Each runs once on the thread that sets it, at its next such operation.
  inline static thread_local std::function<void()> before_cas;
  inline static thread_local std::function<void()> before_add;
  inline static thread_local std::function<void()> before_store;
  inline static thread_local std::function<void()> before_sub;
  inline static thread_local std::function<void()> after_sub;

  /// Runs after every store of the thread that sets it.
  inline static thread_local std::function<void()> after_store;

  static void run(std::function<void()>& hook) {
    if (const auto once = std::exchange(hook, nullptr)) once();
  }

  template <class T> class atomic : public std::atomic<T> {
   public:
    using std::atomic<T>::atomic;
    using std::atomic<T>::operator=;

    T fetch_add(T amount, std::memory_order order) {
      run(before_add);
      return std::atomic<T>::fetch_add(amount, order);
    }

    T fetch_sub(T amount, std::memory_order order) {
      run(before_sub);
      const T before = std::atomic<T>::fetch_sub(amount, order);
      run(after_sub);
      return before;
    }

    void store(T value, std::memory_order order) {
      run(before_store);
      std::atomic<T>::store(value, order);
      if (after_store) after_store();
    }

    bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) {
      run(before_cas);
      return std::atomic<T>::compare_exchange_weak(expected, desired, success, failure);
    }

    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure) {
      run(before_cas);
      return std::atomic<T>::compare_exchange_strong(expected, desired, success, failure);
    }
  };

  /// Never sleeps, so a thread may see a change for which nobody has woken it yet.
  static void wait_while(const std::atomic<std::uint32_t>&, std::uint32_t) {
    std::this_thread::yield();
  }
};

} // namespace slat::mmu::testing
