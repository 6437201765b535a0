#include "mmu/notifier.hpp"

#include "mmu/assert.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

namespace slat::mmu {

namespace {

/// Ranges and aging calls that this thread is inside of, chain by chain: to be inside a range of one
/// address space says nothing about another's.
class ThreadCalls {
 public:
  [[nodiscard]] unsigned of(const NotifierChain* chain) const {
    for (unsigned i = 0; i < used_; ++i)
      if (entries_[i].chain == chain) return entries_[i].count;
    return 0;
  }

  void enter(const NotifierChain* chain) {
    for (unsigned i = 0; i < used_; ++i) {
      if (entries_[i].chain != chain) continue;
      ++entries_[i].count;
      return;
    }
    SLAT_CHECK(used_ < entries_.size(), "a thread is in calls of more than 16 notifier chains");
    entries_[used_++] = {chain, 1};
  }

  void leave(const NotifierChain* chain) {
    for (unsigned i = 0; i < used_; ++i) {
      if (entries_[i].chain != chain) continue;
      if (--entries_[i].count == 0) entries_[i] = entries_[--used_];
      return;
    }
    SLAT_CHECK(false, "a range ends on another thread than it began on (I18)");
  }

 private:
  struct Entry {
    const NotifierChain* chain = nullptr;
    unsigned count = 0;
  };

  std::array<Entry, 16> entries_;
  unsigned used_ = 0;
};

ThreadCalls& calls_on_this_thread() {
  static thread_local ThreadCalls calls;
  return calls;
}

std::uint64_t now_ns() {
  return std::uint64_t(std::chrono::steady_clock::now().time_since_epoch() /
                       std::chrono::nanoseconds(1));
}

void assert_no_page_lock() {
  SLAT_ASSERT(page_locks_held() == 0, "a notifier is called with a page lock held (I24)");
}
} // namespace

struct NotifierChain::Subscribers {
  std::vector<Notifier*> list;
};

bool Notifier::clear_flush_young(std::uintptr_t, std::uintptr_t) {
  return false;
}

bool Notifier::clear_young(std::uintptr_t, std::uintptr_t) {
  return false;
}

bool Notifier::test_young(std::uintptr_t, std::uintptr_t) {
  return false;
}

NotifierChain::~NotifierChain() {
  delete subscribers_.load(std::memory_order_acquire);
} // nobody else is left

std::unique_ptr<NotifierChain::Subscribers> NotifierChain::copy() const {
  const Subscribers* const old =
      subscribers_.load(std::memory_order_relaxed); // written under mutex_ only
  return old != nullptr ? std::make_unique<Subscribers>(*old) : std::make_unique<Subscribers>();
}

void NotifierChain::publish(std::unique_ptr<Subscribers> fresh) {
  const std::unique_ptr<const Subscribers> old(subscribers_.exchange(
      fresh.release(), std::memory_order_acq_rel)); // pairs with readers' acquire
  srcu_.synchronize(); // the last range or aging call that saw the old list is over
}

Result<void> NotifierChain::register_notifier(Notifier& notifier) {
  SLAT_ASSERT(!inside_call(), "register_notifier inside a range or a callback of the chain");
  MutexGuard guard(mutex_);
  std::unique_ptr<Subscribers> fresh = copy();
  if (std::find(fresh->list.begin(), fresh->list.end(), &notifier) != fresh->list.end())
    return fail(Errc::exists, 0, "the notifier is registered already");
  fresh->list.push_back(&notifier);
  {
    MutexGuard gate(gate_);
    ++registrations_;
    while (ranges_ != 0) gate.wait(gate_changed_);
  }
  // No range is in progress and none starts before the gate opens: the subscriber misses nothing
  // (I19).
  publish(std::move(fresh));
  MutexGuard gate(gate_);
  --registrations_;
  gate_changed_.notify_all();
  return {};
}

void NotifierChain::unregister_notifier(Notifier& notifier) {
  SLAT_ASSERT(!inside_call(), "unregister_notifier inside a range or a callback of the chain");
  MutexGuard guard(mutex_);
  std::unique_ptr<Subscribers> fresh = copy();
  std::erase(fresh->list, &notifier);
  // A range in progress goes on with the list it started with; publish() waits for its end.
  publish(std::move(fresh));
}

bool NotifierChain::inside_call() const {
  return calls_on_this_thread().of(this) != 0;
}

bool NotifierChain::pass_gate(bool blockable) {
  MutexGuard gate(gate_);
  if (!inside_call())
    while (registrations_ != 0) {
      if (!blockable) return false;
      gate.wait(gate_changed_);
    }
  ++ranges_;
  calls_on_this_thread().enter(this);
  return true;
}

void NotifierChain::leave_gate() {
  MutexGuard gate(gate_);
  SLAT_ASSERT(ranges_ != 0, "invalidate_range_end without its start (I18)");
  calls_on_this_thread().leave(this);
  if (--ranges_ == 0 && registrations_ != 0) gate_changed_.notify_all();
}

Result<NotifierChain::Scope> NotifierChain::invalidate_range_start(const NotifierRange& range) {
  assert_no_page_lock();
  SLAT_ASSERT(range.start < range.end, "an empty range is invalidated");
  const std::uint64_t started_ns = now_ns();
  if (!pass_gate(range.blockable)) {
    counters_->add(Counter::invalidate_refused_count);
    return fail(Errc::would_block, EAGAIN, "a notifier is being registered");
  }
  Srcu::ReadGuard section(srcu_);
  const Subscribers* const subscribers =
      subscribers_.load(std::memory_order_acquire); // pairs with publish()
  sequence_.begin(range.start, range.end);
  const std::size_t count = subscribers != nullptr ? subscribers->list.size() : 0;
  for (std::size_t i = 0; i < count; ++i) {
    bool started_one = false;
    {
      const NoSleep no_sleep(!range.blockable);
      started_one = subscribers->list[i]->invalidate_range_start(range);
    }
    if (started_one) continue;
    SLAT_CHECK(!range.blockable, "a notifier refused a blockable range");
    for (std::size_t started = 0; started < i; ++started)
      subscribers->list[started]->invalidate_range_end(range);
    sequence_.end(range.start, range.end);
    section.end();
    leave_gate();
    counters_->add(Counter::invalidate_refused_count);
    return fail(Errc::would_block, EAGAIN, "a notifier would have to sleep");
  }
  counters_->add(Counter::invalidate_count);
  counters_->add(Counter::invalidated_pages, (range.end - range.start) / 4096);
  return Scope(*this, std::move(section), subscribers, range, started_ns);
}

NotifierChain::Scope NotifierChain::invalidate_range(NotifierRange range) {
  range.blockable = true;
  auto scope = invalidate_range_start(range);
  SLAT_CHECK(scope.has_value(), "a blockable range was refused");
  return std::move(*scope);
}

NotifierChain::Scope::Scope(Scope&& other) noexcept
    : chain_(other.chain_), section_(std::move(other.section_)), subscribers_(other.subscribers_),
      range_(other.range_), started_ns_(other.started_ns_) {
  other.chain_ = nullptr;
}

void NotifierChain::Scope::end() {
  if (chain_ == nullptr) return;
  assert_no_page_lock();
  {
    const NoSleep no_sleep(!range_.blockable);
    if (subscribers_ != nullptr)
      for (Notifier* notifier : subscribers_->list) notifier->invalidate_range_end(range_);
  }
  chain_->sequence_.end(range_.start, range_.end);
  section_.end();
  chain_->leave_gate();
  chain_->latency_.record(now_ns() - started_ns_);
  chain_ = nullptr;
}

template <class Call> bool NotifierChain::any(Call call) {
  assert_no_page_lock();
  const Srcu::ReadGuard section(srcu_);
  const Subscribers* const subscribers =
      subscribers_.load(std::memory_order_acquire); // pairs with publish()
  bool young = false;
  // A range that a callback starts must pass the gate: the registration that closed it waits for the
  // section above.
  calls_on_this_thread().enter(this);
  if (subscribers != nullptr)
    for (Notifier* notifier : subscribers->list)
      young |= call(*notifier); // all of them: each clears its own bits
  calls_on_this_thread().leave(this);
  return young;
}

bool NotifierChain::clear_flush_young(std::uintptr_t start, std::uintptr_t end) {
  return any([&](Notifier& notifier) { return notifier.clear_flush_young(start, end); });
}

bool NotifierChain::clear_young(std::uintptr_t start, std::uintptr_t end) {
  return any([&](Notifier& notifier) { return notifier.clear_young(start, end); });
}

bool NotifierChain::test_young(std::uintptr_t start, std::uintptr_t end) {
  const NoSleep no_sleep;
  return any([&](Notifier& notifier) { return notifier.test_young(start, end); });
}

void NotifierChain::release() {
  // Held over the callbacks: unregister_notifier() finds its subscriber gone already, and nothing but
  // the mutex makes it wait for a callback that has yet to begin (I23).
  MutexGuard guard(mutex_);
  const std::unique_ptr<Subscribers> leaving = copy();
  publish(std::make_unique<Subscribers>());
  const Srcu::ReadGuard section(srcu_);
  calls_on_this_thread().enter(this);
  for (Notifier* notifier : leaving->list) notifier->release();
  calls_on_this_thread().leave(this);
}

} // namespace slat::mmu
