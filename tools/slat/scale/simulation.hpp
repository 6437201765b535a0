// A discrete-event simulation of threads on many processors. A thread is a coroutine that waits for
// time to pass and for the parts of a machine: lines of cache, spin locks, and to be woken.
//
// Events happen in the order of their time, those of one time in the order in which they were made:
// a run is fixed by its seed. Everything here belongs to one host thread, and times are nanoseconds.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <queue>
#include <random>
#include <utility>
#include <vector>

namespace slat::tool::scale {

/// A thread of the simulated machine. It does not start before Simulation::spawn().
class Task {
 public:
  struct promise_type {
    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }

    std::suspend_always initial_suspend() noexcept { return {}; }

    std::suspend_always final_suspend() noexcept { return {}; }

    void return_void() {}

    void unhandled_exception() { std::terminate(); }
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}

  Task& operator=(Task&&) = delete;

  ~Task() {
    if (handle_) handle_.destroy();
  }

  [[nodiscard]] std::coroutine_handle<> handle() const { return handle_; }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}

  std::coroutine_handle<promise_type> handle_;
};

/// What an event happens to, where it is not a thread that goes on.
class Part {
 public:
  virtual void due() = 0;

 protected:
  ~Part() = default;
};

class Simulation {
 public:
  /// `jitter`: vary() gives values within this share of what it is given, evenly spread.
  explicit Simulation(std::uint64_t seed, double jitter = 0) : random_(seed), jitter_(jitter) {}

  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  [[nodiscard]] double now() const { return now_; }

  /// No two threads do the same thing in exactly the same time.
  [[nodiscard]] double vary(double ns) {
    if (jitter_ == 0) return ns;
    // Not std::uniform_real_distribution, whose values are the library's business.
    const double unit = double(random_() >> 11) * 0x1p-53;
    return ns * (1 + jitter_ * (2 * unit - 1));
  }

  /// The thread starts when the simulation runs. It lives as long as the simulation, and so must the
  /// parts that it uses.
  void spawn(Task task) {
    resume_after(0, task.handle());
    tasks_.push_back(std::move(task));
  }

  void resume_after(double ns, std::coroutine_handle<> thread) {
    events_.push({now_ + ns, made_++, thread, nullptr});
  }

  void due_after(double ns, Part& part) { events_.push({now_ + ns, made_++, {}, &part}); }

  /// co_await simulation.wait(ns): the thread computes, or sleeps, for so long.
  [[nodiscard]] auto wait(double ns) {
    struct Wait {
      Simulation* simulation;
      double ns;

      [[nodiscard]] bool await_ready() const { return ns <= 0; }

      void await_suspend(std::coroutine_handle<> thread) { simulation->resume_after(ns, thread); }

      void await_resume() const {}
    };

    return Wait{this, ns};
  }

  /// A thread says that it has completed an operation.
  void complete() { ++completed_; }

  /// Runs until so many operations are complete; operations per second of the last `measured` ones,
  /// or 0 if nothing moves any more before.
  [[nodiscard]] double rate(std::uint64_t warm_up, std::uint64_t measured) {
    run_until(completed_ + warm_up);
    const double start = now_;
    const std::uint64_t before = completed_;
    run_until(before + measured);
    return completed_ < before + measured || now_ <= start
               ? 0
               : double(completed_ - before) / (now_ - start) * 1e9;
  }

 private:
  struct Event {
    double time;
    std::uint64_t number;
    std::coroutine_handle<> thread;
    Part* part;

    bool operator<(const Event& other) const { // the queue has the largest first
      return time != other.time ? time > other.time : number > other.number;
    }
  };

  void run_until(std::uint64_t completed) {
    while (completed_ < completed && !events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.time;
      if (event.part != nullptr)
        event.part->due();
      else
        event.thread.resume();
    }
  }

  double now_ = 0;
  std::uint64_t made_ = 0;
  std::uint64_t completed_ = 0;
  std::priority_queue<Event> events_;
  std::mt19937_64 random_;
  double jitter_;
  std::vector<Task> tasks_;
};

} // namespace slat::tool::scale
