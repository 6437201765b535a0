#include "mmu/reclaimer.hpp"

#include <exception>
#include <pthread.h>
#include <utility>

namespace slat::mmu {

Reclaimer::~Reclaimer() {
  end_thread();
}

void Reclaimer::end_thread() {
  std::thread thread;
  {
    MutexGuard guard(mutex_);
    stopping_ = true;
    hurry();
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
  barrier(); // what no thread could be had for
}

void Reclaimer::call(DeferredCall& head, void (*function)(DeferredCall*)) {
  head.next = nullptr;
  head.function = function;
  MutexGuard guard(mutex_);
  *tail_ = &head;
  tail_ = &head.next;
  ++queued_;
  start();
  // A gathering thread looks by itself: a wake-up for each call is what a burst would pay for.
  if (sleep_ == Sleep::until_called ||
      (sleep_ == Sleep::gathering && queued_ - taken_ >= most_gathered))
    hurry();
}

void Reclaimer::barrier() {
  DeferredCall* batch = nullptr;
  std::uint64_t goal = 0;
  {
    MutexGuard guard(mutex_);
    goal = queued_;
    if (taken_ < goal) start();
    if (!thread_.joinable())
      batch = take();
    else if (taken_ < goal)
      hurry();
  }
  if (batch != nullptr) run_batch(batch);
  MutexGuard guard(mutex_);
  while (done_ < goal) guard.wait(progress_);
}

void Reclaimer::start() {
  if (thread_.joinable() || stopping_) return;
#ifdef SLAT_EXPLORE
  return; // as if no thread were to be had: whoever calls barrier() runs what is queued
#endif
  try {
    thread_ = std::thread([this] {
      // By itself: another thread's name is a file, and whoever calls may be barred from opening one.
      pthread_setname_np(pthread_self(), "slat-reclaim");
      run();
    });
  } catch (const std::exception&) { // bad_alloc or system_error: nothing is lost, see call()
  }
}

void Reclaimer::hurry() {
  if (!std::exchange(hurry_, true) && sleep_ != Sleep::awake) work_.notify_one(); // once is enough
}

DeferredCall* Reclaimer::take() {
  hurry_ = false;
  taken_ = queued_;
  tail_ = &head_;
  return std::exchange(head_, nullptr);
}

DeferredCall* Reclaimer::next_batch() {
  MutexGuard guard(mutex_);
  const auto deadline = std::chrono::steady_clock::now() + gather_;
  sleep_ = Sleep::gathering;
  while (!hurry_ && !stopping_ && queued_ - taken_ < most_gathered &&
         guard.wait_until(work_, deadline)) {
  }
  sleep_ = Sleep::until_called;
  while (head_ == nullptr && !stopping_) guard.wait(work_);
  sleep_ = Sleep::awake;
  return take();
}

void Reclaimer::run() {
  while (DeferredCall* const batch = next_batch()) run_batch(batch);
}

void Reclaimer::run_batch(DeferredCall* batch) {
  synchronize_();
  std::uint64_t count = 0;
  while (batch != nullptr) {
    DeferredCall* const call = batch;
    batch = call->next; // the callback may free it
    call->function(call);
    ++count;
  }
  MutexGuard guard(mutex_);
  done_ += count;
  progress_.notify_all();
}

} // namespace slat::mmu
