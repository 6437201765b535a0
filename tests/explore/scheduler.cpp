#include "scheduler.hpp"

#include "mmu/stage2/entry.hpp"
#include "mmu/thread_slot.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <utility>

namespace slat::explore {

namespace {

struct Self {
  Scheduler* scheduler = nullptr;
  unsigned id = 0;
};

constinit thread_local Self self;

// Of the process: what fails in a setup or a check has no thread of its own.
Scheduler* active_scheduler = nullptr;

constexpr unsigned char poison = 0xdb;

} // namespace

Unexplored::Unexplored() : scheduler_(std::exchange(self.scheduler, nullptr)) {}

Unexplored::~Unexplored() {
  self.scheduler = scheduler_;
}

Scheduler* Scheduler::current() {
  return self.scheduler;
}

Scheduler* Scheduler::active() {
  return active_scheduler;
}

Scheduler::Scheduler(unsigned threads) {
  active_scheduler = this;
  retired_.reserve(1 << 16); // its own growth must not be retired
  for (unsigned id = 0; id < threads; ++id) {
    workers_.push_back(std::make_unique<Worker>());
    workers_[id]->thread = std::thread([this, id] { work(id); });
    all_finished_.acquire(); // one by one: thread slots are in order of threads
  }
}

Scheduler::~Scheduler() {
  active_scheduler = nullptr;
  stopping_ = true;
  for (const auto& worker : workers_) {
    worker->turn.release();
    worker->thread.join();
  }
}

void Scheduler::work(unsigned id) {
  // What a thread does once in its life is done now, so that all executions are alike.
  (void)mmu::thread_slot();
  (void)mmu::stage2::frozen_entry();
  Worker& me = *workers_[id];
  all_finished_.release();
  for (;;) {
    me.turn.acquire();
    if (stopping_) return;
    self = {this, id};
    (*me.body)();
    self = {};
    me.finished = true;
    const unsigned chosen = next();
    if (chosen == max_threads)
      all_finished_.release();
    else
      workers_[chosen]->turn.release();
  }
}

void Scheduler::run(const std::vector<std::function<void()>>& bodies, Strategy& strategy,
                    std::size_t step_limit) {
  steps_.clear();
  strategy_ = &strategy;
  step_limit_ = step_limit;
  for (unsigned id = 0; id < bodies.size(); ++id) {
    Worker& worker = *workers_[id];
    worker.body = &bodies[id];
    worker.pending = {.name = "start"};
    worker.waits_on = nullptr;
    worker.yielded = false;
    worker.finished = false;
  }
  if (runs_++ % 256 == 0) gather();
  strategy.begin();
  workers_[next()]->turn.release();
  all_finished_.acquire();
}

void Scheduler::gather() {
  cpu_set_t cpu;
  CPU_ZERO(&cpu);
  CPU_SET(unsigned(sched_getcpu()), &cpu);
  for (const auto& worker : workers_)
    (void)pthread_setaffinity_np(worker->thread.native_handle(), sizeof cpu,
                                 &cpu); // only for speed
}

void Scheduler::end_execution() {
  for (const Block& block : retired_) std::free(reinterpret_cast<void*>(block.start));
  retired_.clear();
}

ThreadSet Scheduler::enabled() const {
  ThreadSet ready = 0;
  ThreadSet yielded = 0;
  for (unsigned id = 0; id < workers_.size(); ++id) {
    const Worker& worker = *workers_[id];
    if (worker.finished) continue;
    if (worker.pending.ready != nullptr && !worker.pending.ready(worker.pending.argument)) continue;
    (worker.yielded ? yielded : ready) |= 1u << id;
  }
  return ready != 0 ? ready : yielded;
}

unsigned Scheduler::next() {
  // What the scheduler and the strategy free is not the explored code's.
  const Self explored = std::exchange(self, {});
  const unsigned chosen = decide();
  self = explored;
  return chosen;
}

unsigned Scheduler::decide() {
  const ThreadSet set = enabled();
  if (set == 0) {
    for (const auto& worker : workers_)
      if (!worker->finished) fail("deadlock: nobody can go on");
    return max_threads;
  }
  if (steps_.size() >= step_limit_)
    fail(fmt::format("no progress: more than {} steps", step_limit_));
  const unsigned chosen =
      strategy_->choose({steps_.size(), set, steps_.empty() ? -1 : int(steps_.back().thread)});
  Worker& worker = *workers_[chosen];
  worker.yielded = false;
  if (worker.pending.access == Access::write)
    for (unsigned id = 0; id < workers_.size(); ++id)
      if (id != chosen) workers_[id]->yielded = false;
  steps_.push_back({chosen, worker.pending});
  return chosen;
}

void Scheduler::point(const Operation& operation) {
  Worker& me = *workers_[self.id];
  me.pending = operation;
  const unsigned chosen = next();
  if (chosen != self.id) {
    workers_[chosen]->turn.release();
    me.turn.acquire();
  }
  check_alive(operation.object);
}

void Scheduler::yield() {
  workers_[self.id]->yielded = true;
  point({.name = "yield", .kind = Kind::resume});
}

bool Scheduler::is_woken(const void* worker) {
  return static_cast<const Worker*>(worker)->waits_on == nullptr;
}

void Scheduler::wait_word(const void* word, std::uint32_t value) {
  point({word, "futex wait", Access::write, Kind::plain, nullptr, nullptr, 1, {}});
  if (static_cast<const std::atomic<std::uint32_t>*>(word)->load() != value) return;
  Worker& me = *workers_[self.id];
  me.waits_on = word;
  point({word, "futex woken", Access::none, Kind::resume, is_woken, &me, 1, {}});
}

void Scheduler::wake_word(const void* word) {
  point({word, "futex wake", Access::write, Kind::plain, nullptr, nullptr, 1, {}});
  for (const auto& worker : workers_)
    if (worker->waits_on == word) worker->waits_on = nullptr;
}

void Scheduler::wait_condition(const void* condition, std::unique_lock<NativeMutex>& lock) {
  // On the list first, then out of the mutex: whoever notifies in between finds it.
  point({condition, "condition wait", Access::write, Kind::plain, nullptr, nullptr, 1, {}});
  Worker& me = *workers_[self.id];
  me.waits_on = condition;
  lock.unlock();
  point({condition, "condition woken", Access::none, Kind::resume, is_woken, &me, 1, {}});
  lock.lock();
}

void Scheduler::notify(const void* condition, bool all) {
  point({condition, "notify", Access::write, Kind::plain, nullptr, nullptr, 1, {}});
  for (const auto& worker : workers_) {
    if (worker->waits_on != condition) continue;
    worker->waits_on = nullptr;
    if (!all) return;
  }
}

void Scheduler::fail(const std::string& what) {
  self = {};
  on_failure(what);
  std::abort();
}

void Scheduler::retire(void* block) {
  const std::size_t bytes = malloc_usable_size(block);
  point({block, "free", Access::write, Kind::plain, nullptr, nullptr, bytes, {}});
  std::memset(block, poison, bytes);
  if (retired_.size() == retired_.capacity()) fail("an execution frees too much");
  const auto start = reinterpret_cast<std::uintptr_t>(block);
  retired_.push_back({start, start + bytes});
}

void Scheduler::check_alive(const void* object) {
  if (object == nullptr || *static_cast<const unsigned char*>(object) != poison) return;
  const auto at = reinterpret_cast<std::uintptr_t>(object);
  for (const Block& block : retired_)
    if (block.start <= at && at < block.end) fail("an access to memory that has been freed");
}

std::string Scheduler::name_of(const void* object) const {
  if (object == nullptr) return "";
  std::vector<const void*> seen;
  for (const Step& step : steps_) {
    const void* const used = step.operation.object;
    if (used != nullptr && std::find(seen.begin(), seen.end(), used) == seen.end())
      seen.push_back(used);
    if (used == object) break;
  }
  const auto at = std::find(seen.begin(), seen.end(), object);
  return fmt::format("#{}", at - seen.begin());
}

std::string Scheduler::trace(std::size_t most) const {
  const auto line = [&](const Operation& operation) {
    std::string text = fmt::format("{:18} {:6}", operation.name, name_of(operation.object));
    if (operation.where.line() != 0) {
      const std::string_view file = operation.where.file_name();
      text += fmt::format(" {}:{}", file.substr(file.rfind('/') + 1), operation.where.line());
    }
    return text;
  };
  // The last ones of all, and the last ones of each thread.
  std::vector<std::size_t> shown;
  std::array<std::size_t, max_threads> of_thread{};
  for (std::size_t i = steps_.size(); i-- > 0;)
    if (steps_.size() - i <= most || ++of_thread[steps_[i].thread] <= most / 4) shown.push_back(i);
  std::string text;
  std::size_t next = 0;
  for (; !shown.empty(); shown.pop_back()) {
    const std::size_t i = shown.back();
    if (i != next) text += "    ...\n";
    text += fmt::format("  {:5}  thread {}  {}\n", i, steps_[i].thread, line(steps_[i].operation));
    next = i + 1;
  }
  for (unsigned id = 0; id < workers_.size() && workers_[id]->body != nullptr; ++id)
    text += fmt::format("  next   thread {}  {}\n", id,
                        workers_[id]->finished ? "has finished" : line(workers_[id]->pending));
  return text;
}

} // namespace slat::explore
