// Srcu: one domain of sleepable RCU. Readers of a domain may sleep and never delay another domain
// (I25).
#pragma once

#include "mmu/reclaimer.hpp"
#include "mmu/srcu_core.hpp"
#include "mmu/thread_slot.hpp"

namespace slat::mmu {

class Srcu {
 public:
  Srcu() : reclaimer_([this] { synchronize(); }) {}

  /// For tests: of wrapping counters, and of grace periods that follow each other at once.
  explicit Srcu(std::uint32_t first, std::chrono::microseconds gather = Reclaimer::default_gather)
      : core_(first), reclaimer_([this] { synchronize(); }, gather) {}

  /// A read section; may sleep inside, may nest, and guards may end in any order, also on another
  /// thread to which they were moved (the caller orders that). Some 2 ns; not for signal handlers.
  class ReadGuard {
   public:
    explicit ReadGuard(Srcu& srcu) : srcu_(&srcu), idx_(srcu.core_.read_lock(thread_slot())) {}

    ~ReadGuard() { end(); }

    ReadGuard(ReadGuard&& other) noexcept : srcu_(other.srcu_), idx_(other.idx_) {
      other.srcu_ = nullptr;
    }

    ReadGuard(const ReadGuard&) = delete;
    ReadGuard& operator=(const ReadGuard&) = delete;
    ReadGuard& operator=(ReadGuard&&) = delete;

    void end() {
      if (srcu_ != nullptr) srcu_->core_.read_unlock(idx_, thread_slot());
      srcu_ = nullptr;
    }

   private:
    Srcu* srcu_;
    unsigned idx_;
  };

  /// Sleeps until every section of this domain that exists now has ended. Not inside a section of
  /// this domain (it would wait for itself), nor holding what such a section may want.
  void synchronize() SLAT_EXCLUDES(mutex_) {
    might_sleep();
    MutexGuard guard(mutex_);
    core_.synchronize();
  }

  /// Runs `function(head)` on another thread after a grace period of this domain; does not wait.
  void call(DeferredCall& head, void (*function)(DeferredCall*)) {
    reclaimer_.call(head, function);
  }

  /// Sleeps until every earlier call() has run. Not inside a section of this domain or a callback.
  void barrier() { reclaimer_.barrier(); }

  /// For tests: sections that have begun and not ended. Exact only when nothing moves.
  [[nodiscard]] std::uint32_t readers() const { return core_.readers(); }

 private:
#ifdef SLAT_EXPLORE
  explore::GracePeriods core_; // sections and grace periods are the explorer's
#else
  SrcuCore<StdAtomics, thread_slots> core_;
#endif
  Mutex mutex_{LockRank::grace_period}; // one grace period at a time
  Reclaimer reclaimer_; // last: its thread uses the members above until it is joined
};

} // namespace slat::mmu
