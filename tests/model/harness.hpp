// Runs models by name under a scheduler, an execution limit and a time box, and decides: a model of
// the product must not be refuted, a negative control must be, and in the expected way.
#pragma once

#include "model/random_scheduler.hpp"

#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace slat::model {

enum class Search { random, bound, full };

struct Options {
  Search search = Search::random;
  std::uint64_t executions = 20000; // random only; the others end when nothing is left to try
  double seconds = 10;              // time box of each run
  unsigned preemptions = 2;         // bound only: at most so many per execution
  std::uint64_t seed = 0;           // random only: another seed, other executions
};

struct Verdict {
  rl::test_result_e result = rl::test_result_success;
  std::uint64_t executions = 0;
  bool time_box_hit = false;
  std::string history; // of the execution that refuted the model
};

struct Scenario {
  const char* name;
  Verdict (*run)(const Options&);
};

namespace detail {
/// True once the time box of the run is used up. Called at the start of every execution.
bool out_of_time();
void start_time_box(double seconds);
void stop_time_box();
std::ostream& nowhere();

template <class Test, class Scheduler>
Verdict explore_with(rl::test_params params, const Options& options) {
  rl::ostringstream state;
  start_time_box(options.seconds);
  Verdict verdict;
  verdict.result = rl::run_test<Test, Scheduler>(params, state, false);
  stop_time_box();
  verdict.executions = params.stop_iteration - (options.seed << 32);
  if (verdict.result == rl::test_result_until_condition_hit) {
    verdict.result = rl::test_result_success;
    verdict.time_box_hit = true;
  } else if (verdict.result != rl::test_result_success) {
    rl::ostringstream history;
    rl::ostringstream ignored;
    params.initial_state = state.str();
    params.collect_history = true;
    params.output_stream = &history;
    (void)rl::run_test<Test, Scheduler>(params, ignored, true);
    verdict.history = history.str().c_str();
  }
  return verdict;
}
} // namespace detail

/// Base of every model: setup() instead of before(), for the time box.
template <class Derived, int Threads> struct Model : rl::test_suite<Derived, Threads> {
  static_assert(Threads <= Knowledge::max_threads);

  void before() {
    if (detail::out_of_time()) rl::ctx().rl_until("time box", info(Where::current()));
    static_cast<Derived*>(this)->setup();
  }

  void setup() {}
};

template <class Test> Verdict explore(const Options& options) {
  rl::test_params params;
  params.output_stream = &detail::nowhere();
  params.progress_stream = &detail::nowhere();
  params.execution_depth_limit = 3000;
  constexpr int threads = Test::params::thread_count;
#ifndef SLAT_MODEL_MUTANT // refuted at random only; saves most of the time to compile
  if (options.search == Search::full) {
    params.search_type = rl::sched_full;
    return detail::explore_with<Test, rl::full_search_scheduler<threads>>(params, options);
  }
  if (options.search == Search::bound) {
    params.search_type = rl::sched_bound;
    params.context_bound = options.preemptions;
    return detail::explore_with<Test, rl::context_bound_scheduler<threads>>(params, options);
  }
#endif
  const std::uint64_t first = (options.seed << 32) + 1;
  params.search_type = rl::sched_random;
  params.iteration_count = first + options.executions - 1;
  params.initial_state = std::to_string(first).append(" ").c_str();
  return detail::explore_with<Test, RandomScheduler<threads>>(params, options);
}

/// main() of every model; its usage is printed with --help.
int run_models(int argc, char** argv, std::span<const Scenario> scenarios);

} // namespace slat::model

/// The property itself: a model whose execution gets here with a false condition is refuted.
#define MODEL_CHECK(condition) RL_ASSERT(condition)
