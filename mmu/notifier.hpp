// NotifierChain: tells secondary MMUs that a range of the guest view is about to change, and when
// that is over. After the kernel's mmu_notifier; callbacks run under the chain's SRCU domain, with
// no page lock held (I24).
//
// A range holds the SRCU section and the list of subscribers from its start to its end, so both see
// the same ones (I19), and unregister_notifier(), which waits for a grace period, returns after the
// last callback (I23).
//
//   start  gate (no registration under way), InvalidateSeq::begin, invalidate_range_start of each
//          refused by one: invalidate_range_end of exactly those that had started, then
//          InvalidateSeq::end (I18)
//   end    invalidate_range_end of each, InvalidateSeq::end
#pragma once

#include "mmu/counters.hpp"
#include "mmu/error.hpp"
#include "mmu/histogram.hpp"
#include "mmu/invalidate_seq.hpp"
#include "mmu/rcu.hpp"
#include "mmu/srcu.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace slat::mmu {

enum class InvalidateEvent {
  unmap,
  zap,
  remove,
  protect, // of VMAs
  move,
  reclaim,
  migrate,       // the same content, elsewhere
  write_protect, // of pages: what is mapped may stay, but not to be written to
};

struct NotifierRange {
  std::uintptr_t start; // guest view, bytes, page aligned
  std::uintptr_t end;   // exclusive
  InvalidateEvent event;
  bool blockable = true; // false: callbacks must not sleep and may refuse
};

/// A subscriber. Every callback runs inside the chain's SRCU section, with no page lock held;
/// several ranges may be in progress at a time, on several threads.
class Notifier {
 public:
  virtual ~Notifier() = default;
  /// From here until the matching end no secondary mapping of the range may exist or be made. May
  /// sleep if range.blockable and must then return true; otherwise it must not sleep and returns
  /// false where it would have to: the range is then called off, and this subscriber gets no end.
  virtual bool invalidate_range_start(const NotifierRange& range) = 0;
  /// Exactly once for each start that returned true. Must not fail; may sleep if range.blockable.
  virtual void invalidate_range_end(const NotifierRange& range) = 0;
  /// True if [start, end) was accessed through the secondary MMU since the last call; clears that,
  /// and flushes so that the next access is seen. May sleep.
  virtual bool clear_flush_young(std::uintptr_t start, std::uintptr_t end);
  /// The same without the flush: an access may be missed. May sleep.
  virtual bool clear_young(std::uintptr_t start, std::uintptr_t end);
  /// Only looks. Must not sleep.
  virtual bool test_young(std::uintptr_t start, std::uintptr_t end);

  /// The address space is going away: every secondary mapping must be gone when this returns, for no
  /// range is announced after it. Called once, if still subscribed. May sleep.
  virtual void release() {}
};

class NotifierChain {
  struct Subscribers;

 public:
  /// `first_sequence` is for tests of its wrap.
  explicit NotifierChain(Counters& counters, std::uint64_t first_sequence = 0)
      : counters_(&counters), sequence_(first_sequence) {}

  ~NotifierChain();
  NotifierChain(const NotifierChain&) = delete;
  NotifierChain& operator=(const NotifierChain&) = delete;

  /// Subscribes; returns when no range is in progress that the subscriber has missed. May sleep.
  /// Not inside a range.
  Result<void> register_notifier(Notifier& notifier) SLAT_EXCLUDES(mutex_);

  /// Unsubscribes; returns after the last callback has returned (I23). May sleep. Not inside a
  /// range or a callback of this chain, nor holding what a callback may want.
  void unregister_notifier(Notifier& notifier) SLAT_EXCLUDES(mutex_);

  /// A range in progress; ended by its destructor at the latest. On one thread from start to end.
  class Scope {
   public:
    Scope(Scope&& other) noexcept;
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    Scope& operator=(Scope&&) = delete;

    ~Scope() { end(); }

    void end();

   private:
    friend class NotifierChain;

    Scope(NotifierChain& chain, Srcu::ReadGuard section, const Subscribers* subscribers,
          const NotifierRange& range, std::uint64_t started_ns)
        : chain_(&chain), section_(std::move(section)), subscribers_(subscribers), range_(range),
          started_ns_(started_ns) {}

    NotifierChain* chain_;
    Srcu::ReadGuard section_;
    const Subscribers* subscribers_;
    NotifierRange range_;
    std::uint64_t started_ns_;
  };

  /// invalidate_range_start to every subscriber. May sleep unless the range is not blockable; then
  /// Errc::would_block if a subscriber refused. No page lock held; the caller holds the mm and VMA
  /// write locks where the change needs them. Ranges may nest on a thread and run in parallel.
  Result<Scope> invalidate_range_start(const NotifierRange& range) SLAT_EXCLUDES(mutex_);

  /// The same for a blockable range, which nobody may refuse.
  [[nodiscard]] Scope invalidate_range(NotifierRange range) SLAT_EXCLUDES(mutex_);

  /// The three aging calls: true if any subscriber says so. No page lock held; the first two may
  /// sleep.
  bool clear_flush_young(std::uintptr_t start, std::uintptr_t end);
  bool clear_young(std::uintptr_t start, std::uintptr_t end);
  bool test_young(std::uintptr_t start, std::uintptr_t end);

  /// Tells every subscriber that the address space ends, once, and unsubscribes them all. May
  /// sleep. Not in a range.
  void release();

  /// True if this thread is between start and end of a range of this chain, or in a callback of it:
  /// then it must not wait for a range to end, nor register, nor unregister. Does not sleep.
  [[nodiscard]] bool inside_call() const;

  [[nodiscard]] InvalidateSeq& sequence() { return sequence_; }

  /// From the start of a range, before the first callback, to its end, after the last, in nanoseconds.
  [[nodiscard]] const Histogram& invalidate_latency_ns() const { return latency_; }

  [[nodiscard]] Srcu& srcu() { return srcu_; }

 private:
  /// Publishes `fresh` and frees the old list after a grace period.
  void publish(std::unique_ptr<Subscribers> fresh) SLAT_REQUIRES(mutex_);
  [[nodiscard]] std::unique_ptr<Subscribers> copy() const SLAT_REQUIRES(mutex_);
  bool pass_gate(bool blockable) SLAT_EXCLUDES(gate_);
  void leave_gate() SLAT_EXCLUDES(gate_);
  template <class Call> bool any(Call call);

  Counters* counters_;
  Histogram latency_;
  InvalidateSeq sequence_;
  Srcu srcu_;
  Mutex mutex_{LockRank::registration}; // serialises registration
  StdAtomics::atomic<const Subscribers*> subscribers_{
      nullptr}; // release where it is replaced pairs with readers' acquire

  // Lets a registration wait for a moment without ranges. A thread that is inside a call passes at
  // once: its nested range cannot wait for a registration that waits for the outer one.
  Mutex gate_{LockRank::gate};
  ConditionVariable gate_changed_;
  unsigned ranges_ SLAT_GUARDED_BY(gate_) = 0;
  unsigned registrations_ SLAT_GUARDED_BY(gate_) = 0;
};

} // namespace slat::mmu
