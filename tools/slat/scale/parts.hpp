// The parts of a simulated machine that threads queue for: a line of cache, a spin lock, a place to
// sleep. Times are nanoseconds.
#pragma once

#include "slat/scale/simulation.hpp"

#include <cstddef>
#include <deque>
#include <string_view>

namespace slat::tool::scale {

/// How processors share lines.
struct Coherence {
  double rmw_ns = 5;        // a locked instruction on a line that the processor owns
  double transfer_ns = 50;  // a line from another processor of the same node
  double far_factor = 2;    // the same from another node
  unsigned node_cpus = 64;  // processors of a node: the first, the second so many, ...
  double keep_ns = 10;      // for so long a processor keeps a line that has come to it
  double per_waiter = .005; // how much each one that waits for the line adds to a transfer
  bool migratory = true; // a read of a line that its owner has written brings it whole, not a copy

  [[nodiscard]] double move_ns(unsigned from, unsigned to, std::size_t waiters) const {
    return transfer_ns * (from / node_cpus == to / node_cpus ? 1 : far_factor) *
           (1 + per_waiter * double(waiters));
  }
};

/// A line of cache, which one processor at a time may write: a serial resource. A reader gets a copy,
/// which is good until the next write; a writer gets the line to itself. Requests of others are served
/// in order, once the processor that the line has come to has kept it for a moment: what it does with
/// the line meanwhile, it does at once.
class Line {
 public:
  enum class Access : char {
    read,
    add, // fetch_add and the like
    cas, // compare-and-swap of a value read before; if it has changed, once more, with the line here
  };

  Line(Simulation& simulation, const Coherence& coherence, unsigned cpus)
      : simulation_(&simulation), coherence_(&coherence), copies_(cpus), served_(*this),
        kept_(*this) {}

  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  /// co_await line.access(cpu, ...): returns when it is done.
  [[nodiscard]] auto access(unsigned cpu, Access how) {
    struct Wait {
      Line* line;
      Request request;

      [[nodiscard]] bool await_ready() const { // a copy is at hand
        return request.how == Access::read && line->is_here(request);
      }

      void await_suspend(std::coroutine_handle<> thread) {
        request.thread = thread;
        line->ask(request);
      }

      void await_resume() const {}
    };

    return Wait{this, {cpu, how, {}}};
  }

 private:
  struct Request {
    unsigned cpu;
    Access how;
    std::coroutine_handle<> thread;
  };

  struct Served final : Part {
    explicit Served(Line& of) : line(&of) {}

    void due() override { line->finish(); }

    Line* line;
  };

  struct Kept final : Part {
    explicit Kept(Line& of) : line(&of) {}

    void due() override {
      line->waiting_ = false;
      line->next();
    }

    Line* line;
  };

  [[nodiscard]] bool is_here(const Request& request) const {
    return request.how == Access::read ? copies_[request.cpu] == version_
                                       : exclusive_ && last_ == request.cpu;
  }

  void ask(const Request& request) {
    if (!busy_ && is_here(request)) {
      serve(request);
    } else {
      queue_.push_back(request);
      next();
    }
  }

  /// Serves the first that waits, if the line can leave.
  void next() {
    if (busy_ || waiting_ || queue_.empty()) return;
    if (simulation_->now() < kept_until_) {
      waiting_ = true;
      simulation_->due_after(kept_until_ - simulation_->now(), kept_);
      return;
    }
    const Request request = queue_.front();
    queue_.pop_front();
    serve(request);
  }

  void serve(const Request& request) {
    const bool write = request.how != Access::read;
    double ns = write ? coherence_->rmw_ns : 0;
    if (request.how == Access::cas && copies_[request.cpu] != version_) ns += coherence_->rmw_ns;
    arriving_ = !is_here(request);
    whole_ = write || (arriving_ && exclusive_ && coherence_->migratory);
    if (whole_) ++version_; // all copies are gone as soon as it is on its way
    if (arriving_) exclusive_ = false;
    if (arriving_ && used_) ns += coherence_->move_ns(last_, request.cpu, queue_.size());
    busy_ = true;
    current_ = request;
    simulation_->due_after(ns, served_);
  }

  void finish() {
    busy_ = false;
    if (arriving_ || whole_) exclusive_ = whole_;
    copies_[current_.cpu] = version_;
    last_ = current_.cpu;
    used_ = true;
    if (arriving_) kept_until_ = simulation_->now() + coherence_->keep_ns;
    simulation_->resume_after(0, current_.thread); // before next(): it may want the line again
    next();
  }

  Simulation* simulation_;
  const Coherence* coherence_;
  std::vector<std::uint64_t> copies_; // which version each processor has a copy of
  std::uint64_t version_ = 1;
  unsigned last_ = 0; // who had it last
  bool exclusive_ = false;
  bool used_ = false;
  bool busy_ = false;     // current_ is being served
  bool arriving_ = false; // and the line comes from elsewhere
  bool whole_ = false;    // and no copy is left there
  bool waiting_ = false;  // until kept_until_
  double kept_until_ = 0;
  Request current_{};
  std::deque<Request> queue_;
  Served served_;
  Kept kept_;
};

/// A queued spin lock: to take it moves its line to the processor.
class SpinLock {
 public:
  SpinLock(Simulation& simulation, const Coherence& coherence)
      : simulation_(&simulation), coherence_(&coherence) {}

  /// co_await lock.acquire(cpu)
  [[nodiscard]] auto acquire(unsigned cpu) {
    struct Wait {
      SpinLock* lock;
      unsigned cpu;

      [[nodiscard]] bool await_ready() const { return false; }

      void await_suspend(std::coroutine_handle<> thread) {
        if (std::exchange(lock->held_, true))
          lock->queue_.push_back({cpu, thread});
        else
          lock->hand_to({cpu, thread});
      }

      void await_resume() const {}
    };

    return Wait{this, cpu};
  }

  void release() {
    if (queue_.empty()) {
      held_ = false;
      return;
    }
    const Waiter next = queue_.front();
    queue_.pop_front();
    hand_to(next);
  }

 private:
  struct Waiter {
    unsigned cpu;
    std::coroutine_handle<> thread;
  };

  void hand_to(const Waiter& next) {
    double ns = coherence_->rmw_ns;
    if (last_ != next.cpu && used_) ns += coherence_->move_ns(last_, next.cpu, queue_.size());
    last_ = next.cpu;
    used_ = true;
    simulation_->resume_after(ns, next.thread);
  }

  Simulation* simulation_;
  const Coherence* coherence_;
  bool held_ = false;
  bool used_ = false;
  unsigned last_ = 0;
  std::deque<Waiter> queue_;
};

/// Where threads sleep until they are woken.
class Sleepers {
 public:
  explicit Sleepers(Simulation& simulation) : simulation_(&simulation) {}

  /// co_await sleepers.sleep()
  [[nodiscard]] auto sleep() {
    struct Wait {
      Sleepers* sleepers;

      [[nodiscard]] bool await_ready() const { return false; }

      void await_suspend(std::coroutine_handle<> thread) { sleepers->queue_.push_back(thread); }

      void await_resume() const {}
    };

    return Wait{this};
  }

  [[nodiscard]] std::size_t count() const { return queue_.size(); }

  /// The one that has slept longest goes on after `ns`. There is one.
  void wake_one_after(double ns) {
    simulation_->resume_after(ns, queue_.front());
    queue_.pop_front();
  }

 private:
  Simulation* simulation_;
  std::deque<std::coroutine_handle<>> queue_;
};

} // namespace slat::tool::scale
