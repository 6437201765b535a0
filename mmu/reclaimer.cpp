#include "mmu/reclaimer.hpp"

#include "mmu/assert.hpp"

#include <pthread.h>
#include <utility>

namespace slat::mmu {

Reclaimer::~Reclaimer() {
  std::thread thread;
  {
    MutexGuard guard(mutex_);
    stopping_ = true;
    work_.notify_one();
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void Reclaimer::call(DeferredCall& head, void (*function)(DeferredCall*)) {
  head.next = nullptr;
  head.function = function;
  MutexGuard guard(mutex_);
  SLAT_ASSERT(!stopping_, "call() on a reclaimer that is being destroyed");
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "slat-reclaim");
  }
  if (head_ == nullptr) {
    head_ = &head;
    work_.notify_one();
  } else {
    *tail_ = &head;
  }
  tail_ = &head.next;
  ++queued_;
}

void Reclaimer::barrier() {
  MutexGuard guard(mutex_);
  const std::uint64_t goal = queued_;
  while (done_ < goal) guard.wait(progress_);
}

void Reclaimer::run() {
  for (;;) {
    DeferredCall* batch = nullptr;
    {
      MutexGuard guard(mutex_);
      while (head_ == nullptr && !stopping_) guard.wait(work_);
      if (head_ == nullptr) return;
      batch = std::exchange(head_, nullptr);
    }
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
}

} // namespace slat::mmu
