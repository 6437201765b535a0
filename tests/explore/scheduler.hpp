// The scheduler: real threads that hand a baton to each other, so that one runs at a time and thread_locals
// of mmu/ stay what they are. Before each operation on shared state (slat_explore.hpp) the thread with the
// baton asks the strategy who goes on; the others wait, each with the operation that it is about to do.
//
// A thread that cannot do its operation yet (a lock that is held, a word that nobody has woken, a grace
// period) is not enabled. Nobody enabled and somebody not finished is a deadlock.
#pragma once

#include <slat_explore.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

namespace slat::explore {

inline constexpr unsigned max_threads = 4;

/// While it lives, what the thread does is one step with the one before: for checks of what stands in a step.
class Unexplored {
 public:
  Unexplored();
  ~Unexplored();
  Unexplored(const Unexplored&) = delete;
  Unexplored& operator=(const Unexplored&) = delete;

 private:
  class Scheduler* scheduler_;
};

/// A bit for each thread.
using ThreadSet = unsigned;

/// One operation of one thread, done in this order.
struct Step {
  unsigned thread;
  Operation operation;
};

/// Where a strategy chooses.
struct Choice {
  std::size_t step;  // how many have been done
  ThreadSet enabled; // not empty
  int last;          // the thread of the last step; -1 at the start
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual void begin() = 0;
  virtual unsigned choose(const Choice& choice) = 0;
  /// All threads have finished. False: nothing is left to try.
  virtual bool end(const std::vector<Step>& steps) = 0;
};

class Scheduler {
 public:
  /// `threads` workers, which stay for all executions.
  explicit Scheduler(unsigned threads);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// One execution: runs a body on each worker until all have returned. `step_limit`: more than that is a
  /// failure, for nobody makes progress.
  void run(const std::vector<std::function<void()>>& bodies, Strategy& strategy,
           std::size_t step_limit);

  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }

  /// Frees what was freed meanwhile.
  void end_execution();

  /// What to call when an execution fails; does not return.
  std::function<void(const std::string& what)> on_failure;

  // ---- what slat_explore.hpp stands on; on an explored thread

  void point(const Operation& operation);
  void yield();
  void wait_word(const void* word, std::uint32_t value);
  void wake_word(const void* word);
  void wait_condition(const void* condition, std::unique_lock<NativeMutex>& lock);
  void notify(const void* condition, bool all);
  [[noreturn]] void fail(const std::string& what);
  void retire(void* block);

  /// The calling thread's scheduler, if it is explored and in an execution.
  static Scheduler* current();
  /// The one that exists, or nullptr.
  static Scheduler* active();

  /// An object by a number in order of first use: "#7".
  [[nodiscard]] std::string name_of(const void* object) const;
  /// The steps done last, by all and by each thread, and what each is about to do.
  [[nodiscard]] std::string trace(std::size_t most) const;

 private:
  struct Worker {
    std::thread thread;
    std::binary_semaphore turn{0};
    const std::function<void()>* body = nullptr;
    Operation pending;
    const void* waits_on = nullptr; // a word or a condition; cleared by who wakes
    bool yielded = false;           // until another thread writes
    bool finished = true;
  };

  struct Block {
    std::uintptr_t start, end;
  };

  void work(unsigned id);
  /// All workers to the CPU that the caller is on: only one of them runs, and what it takes out of the address
  /// space no other CPU then has to forget. Half the time; nothing depends on it.
  void gather();
  /// Chooses who goes on, and notes the step. max_threads: nobody, all have finished.
  unsigned next();
  unsigned decide();
  [[nodiscard]] ThreadSet enabled() const;
  void check_alive(const void* object);
  static bool is_woken(const void* worker);

  std::vector<std::unique_ptr<Worker>> workers_;
  std::binary_semaphore all_finished_{0};
  bool stopping_ = false;
  Strategy* strategy_ = nullptr;
  std::size_t step_limit_ = 0;
  std::uint64_t runs_ = 0;
  std::vector<Step> steps_;
  std::vector<Block> retired_;
};

} // namespace slat::explore
