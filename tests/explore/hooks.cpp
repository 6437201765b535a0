// What slat_explore.hpp declares, by way of the calling thread's scheduler.
#include "scheduler.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <new>

namespace slat::explore {

namespace {

void must_not_wait(bool ready, const char* what) {
  if (ready) return;
  std::fprintf(stderr, "slat-explore: %s outside of an execution would wait for ever\n", what);
  std::abort();
}

} // namespace

void point(const Operation& operation) {
  if (Scheduler* const scheduler = Scheduler::current())
    scheduler->point(operation);
  else
    must_not_wait(operation.ready == nullptr || operation.ready(operation.argument),
                  operation.name);
}

void yield() {
  if (Scheduler* const scheduler = Scheduler::current()) scheduler->yield();
}

void wait_word(const void* word, std::uint32_t value) {
  if (Scheduler* const scheduler = Scheduler::current())
    scheduler->wait_word(word, value);
  else
    must_not_wait(static_cast<const std::atomic<std::uint32_t>*>(word)->load() != value, "a futex");
}

void wake_word(const void* word) {
  if (Scheduler* const scheduler = Scheduler::current()) scheduler->wake_word(word);
}

void failed(const char* what, const char* file, int line) {
  if (Scheduler* const scheduler = Scheduler::active())
    scheduler->fail(fmt::format("{} ({}:{})", what, file, line));
}

bool retire(void* block) {
  Scheduler* const scheduler = Scheduler::current();
  if (scheduler == nullptr || block == nullptr) return false;
  scheduler->retire(block);
  return true;
}

// ---- locks

void NativeMutex::lock() {
  point({this, "lock", Access::write, Kind::blocking, is_free, this, 1, {}});
  held_ = true;
}

bool NativeMutex::try_lock() {
  point({this, "try_lock", Access::write, Kind::plain, nullptr, nullptr, 1, {}});
  if (held_) return false;
  return held_ = true;
}

void NativeMutex::unlock() {
  point({this, "unlock", Access::write, Kind::release, nullptr, nullptr, 1, {}});
  held_ = false;
}

void NativeCondition::wait(std::unique_lock<NativeMutex>& lock) {
  if (Scheduler* const scheduler = Scheduler::current())
    scheduler->wait_condition(this, lock);
  else
    must_not_wait(false, "a condition");
}

void NativeCondition::notify_one() {
  if (Scheduler* const scheduler = Scheduler::current()) scheduler->notify(this, false);
}

void NativeCondition::notify_all() {
  if (Scheduler* const scheduler = Scheduler::current()) scheduler->notify(this, true);
}

void NativeRwLock::lock() {
  // Announced: later readers queue up behind it.
  point({this, "write lock asked for", Access::write, Kind::plain, nullptr, nullptr, 1, {}});
  ++waiting_writers_;
  const auto ready = [](const void* argument) {
    const auto& me = *static_cast<const NativeRwLock*>(argument);
    return me.readers_ == 0 && !me.written_;
  };
  point({this, "write lock", Access::write, Kind::blocking, ready, this, 1, {}});
  --waiting_writers_;
  written_ = true;
}

void NativeRwLock::unlock() {
  point({this, "write unlock", Access::write, Kind::release, nullptr, nullptr, 1, {}});
  written_ = false;
}

void NativeRwLock::lock_shared() {
  const auto ready = [](const void* argument) {
    const auto& me = *static_cast<const NativeRwLock*>(argument);
    return !me.written_ && me.waiting_writers_ == 0;
  };
  point({this, "read lock", Access::read, Kind::blocking, ready, this, 1, {}});
  ++readers_;
}

bool NativeRwLock::try_lock_shared() {
  point({this, "read try-lock", Access::read, Kind::plain, nullptr, nullptr, 1, {}});
  if (written_ || waiting_writers_ != 0) return false;
  ++readers_;
  return true;
}

void NativeRwLock::unlock_shared() {
  point({this, "read unlock", Access::read, Kind::release, nullptr, nullptr, 1, {}});
  --readers_;
}

// ---- grace periods

struct GracePeriods::Wait {
  const GracePeriods* domain;
  unsigned before; // sections with smaller numbers
};

unsigned GracePeriods::read_lock(unsigned) {
  point({this, "section begins", Access::read, Kind::plain, nullptr, nullptr, 1, {}});
  const Unexplored growth; // of a vector that outlives the execution
  sections_.push_back({next_, grace_periods_});
  return next_++;
}

void GracePeriods::read_unlock(unsigned section, unsigned) {
  const auto find = [&] {
    return std::find_if(sections_.begin(), sections_.end(),
                        [&](const Section& one) { return one.number == section; });
  };
  const unsigned epoch = find()->grace_periods;
  point({&ends_[epoch % 64], "section ends", Access::read, Kind::release, nullptr, nullptr, 1, {}});
  sections_.erase(find());
}

void GracePeriods::synchronize() {
  point({this, "grace period begins", Access::write, Kind::plain, nullptr, nullptr, 1, {}});
  const Wait wait{this, next_};
  const unsigned epoch = grace_periods_++;
  const auto over = [](const void* argument) {
    const Wait& me = *static_cast<const Wait*>(argument);
    return me.domain->sections_.empty() || me.domain->sections_.front().number >= me.before;
  };
  point({nullptr, "grace period ends", Access::none, Kind::resume, over, &wait, 1, {}});
  for (unsigned age = 0; age < 4; ++age)
    point({&ends_[(epoch - age) % 64],
           "after sections",
           Access::write,
           Kind::resume,
           nullptr,
           nullptr,
           1,
           {}});
}

GracePeriods& rcu() {
  static GracePeriods domain;
  return domain;
}

} // namespace slat::explore

// What explored threads free stays until the end of the execution; see retire().
void operator delete(void* block) noexcept {
  if (!slat::explore::retire(block)) std::free(block);
}

void operator delete(void* block, std::size_t) noexcept {
  operator delete(block);
}

void operator delete(void* block, std::align_val_t) noexcept {
  operator delete(block);
}

void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  operator delete(block);
}
