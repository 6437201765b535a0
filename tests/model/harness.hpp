// Runs models by name under a scheduler, an execution limit and a time box, and decides: a model of
// the product must not be refuted, a negative control must be, and in the expected way.
#pragma once

#include "model/random_scheduler.hpp"

#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slat::model {

enum class Search { random, bound };

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
  const char* name = nullptr; // none: not built
  Verdict (*run)(const Options&) = nullptr;
  bool exhaustible = false; // made with explore_all()
};

namespace detail {
/// True once the time box of the run is used up. Called at the start of every execution.
bool out_of_time();
void start_time_box(double seconds);
void stop_time_box();
rl::test_params quiet_params();

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

/// Random executions.
template <class Test> Verdict explore(const Options& options) {
  rl::test_params params = detail::quiet_params();
  const std::uint64_t first = (options.seed << 32) + 1;
  params.search_type = rl::sched_random;
  params.iteration_count = first + options.executions - 1;
  params.initial_state = std::to_string(first).append(" ").c_str();
  constexpr int threads = Test::params::thread_count;
  return detail::explore_with<Test, RandomScheduler<threads>>(params, options);
}

/// The same, and for models that are small enough all executions with a bounded number of
/// preemptions. (Another scheduler is another instance of all of relacy: it takes long to compile.)
template <class Test> Verdict explore_all(const Options& options) {
#ifndef SLAT_MODEL_ONLY // negative controls are refuted at random
  if (options.search == Search::bound) {
    rl::test_params params = detail::quiet_params();
    params.search_type = rl::sched_bound;
    params.context_bound = options.preemptions;
    constexpr int threads = Test::params::thread_count;
    return detail::explore_with<Test, rl::context_bound_scheduler<threads>>(params, options);
  }
#endif
  return explore<Test>(options);
}

/// A negative control compiles the one scenario that it needs: relacy is instantiated anew for each.
consteval bool is_built([[maybe_unused]] std::string_view name) {
#ifdef SLAT_MODEL_ONLY
  return name == SLAT_MODEL_ONLY;
#else
  return true;
#endif
}

template <bool Built, class Test> consteval Scenario scenario(const char* name) {
  if constexpr (Built) return {name, explore<Test>, false};
  return {};
}

template <bool Built, class Test> consteval Scenario small_scenario(const char* name) {
  if constexpr (Built) return {name, explore_all<Test>, true};
  return {};
}

/// main() of every model; its usage is printed with --help.
int run_models(int argc, char** argv, std::span<const Scenario> scenarios);

} // namespace slat::model

/// The property itself: a model whose execution gets here with a false condition is refuted.
#define MODEL_CHECK(condition) RL_ASSERT(condition)

/// The same where it is enough to get there.
#define MODEL_FAIL(what)                                                                           \
  ::rl::ctx().fail_test(what, ::rl::test_result_user_assert_failed,                                \
                        ::slat::model::info(::slat::model::Where::current()))

/// Entries of a model's table: a name and a model, which may have commas.
#define MODEL_SCENARIO(name, ...)                                                                  \
  ::slat::model::scenario<::slat::model::is_built(name), __VA_ARGS__>(name)
#define MODEL_SMALL_SCENARIO(name, ...)                                                            \
  ::slat::model::small_scenario<::slat::model::is_built(name), __VA_ARGS__>(name)
