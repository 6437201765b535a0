#include "model/harness.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>

namespace slat::mmu::detail {
/// Checked builds of the product headers: an assertion that fails refutes the model.
[[noreturn]] void assertion_failed(const char* what, const char* file, int line) {
  rl::ctx().fail_test(what, rl::test_result_user_assert_failed,
                      {"SLAT_ASSERT", file, static_cast<unsigned>(line)});
  std::abort(); // relacy has left for good
}
} // namespace slat::mmu::detail

namespace slat::model {

namespace detail {
namespace {
using Clock = std::chrono::steady_clock;
Clock::time_point deadline;
bool boxed = false;
unsigned starts = 0;
} // namespace

bool out_of_time() {
  return boxed && ++starts % 64 == 0 && Clock::now() > deadline;
}

void start_time_box(double seconds) {
  boxed = true;
  deadline = Clock::now() +
             std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

void stop_time_box() {
  boxed = false;
}

rl::test_params quiet_params() {
  static std::ostream nowhere(nullptr);
  rl::test_params params;
  params.output_stream = &nowhere;
  params.progress_stream = &nowhere;
  params.execution_depth_limit = 3000; // steps; beyond is a livelock
  return params;
}
} // namespace detail

namespace {

struct Command {
  Options options;
  std::vector<std::string> names;
  std::vector<std::string> refuted_by;
  bool list = false;
};

constexpr const char* usage =
    "usage: %s [--list] [--search random|bound] [--executions N] [--seconds S]\n"
    "       [--preemptions N] [--seed N] [--refuted-by RESULT]... [SCENARIO]...\n"
    "Without a scenario, all are run. --refuted-by: pass only if the scenario is refuted by such "
    "a\n"
    "result, e.g. \"DATA RACE\" (any of those given). SLAT_MODEL_EXECUTIONS, SLAT_MODEL_SECONDS "
    "and\n"
    "SLAT_MODEL_SEED in the environment override the options.\n";

template <class T> bool number(const char* text, T& value) {
  char* end = nullptr;
  const double parsed = std::strtod(text, &end);
  if (end == text || *end != '\0' || parsed < 0) return false;
  value = static_cast<T>(parsed);
  return true;
}

bool search_of(std::string_view name, Search& search) {
  search = name == "bound" ? Search::bound : Search::random;
  return name == "bound" || name == "random";
}

std::optional<Command> parse(int argc, char** argv) {
  Command command;
  Options& options = command.options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--list") {
      command.list = true;
      continue;
    }
    if (!word.starts_with("--")) {
      command.names.emplace_back(word);
      continue;
    }
    if (++i == argc) return {};
    const char* const value = argv[i];
    bool ok = false;
    if (word == "--search") ok = search_of(value, options.search);
    if (word == "--executions") ok = number(value, options.executions);
    if (word == "--seconds") ok = number(value, options.seconds);
    if (word == "--preemptions") ok = number(value, options.preemptions);
    if (word == "--seed") ok = number(value, options.seed);
    if (word == "--refuted-by") {
      command.refuted_by.emplace_back(value);
      ok = true;
    }
    if (!ok) return {};
  }
  const char* value = std::getenv("SLAT_MODEL_EXECUTIONS");
  if (value != nullptr && !number(value, options.executions)) return {};
  value = std::getenv("SLAT_MODEL_SECONDS");
  if (value != nullptr && !number(value, options.seconds)) return {};
  value = std::getenv("SLAT_MODEL_SEED");
  if (value != nullptr && !number(value, options.seed)) return {};
  if (options.executions == 0) return {};
  return command;
}

/// One line per step in the order of execution; relacy's second half, by thread, says the same.
void print_history(std::string_view history) {
  constexpr std::size_t most = 400; // the end tells the story
  history = history.substr(0, history.find("\nthread 0:"));
  std::vector<std::string_view> lines;
  while (!history.empty()) {
    const std::size_t end = std::min(history.find('\n'), history.size());
    lines.push_back(history.substr(0, end));
    history.remove_prefix(std::min(end + 1, history.size()));
  }
  const std::size_t from = lines.size() > most ? lines.size() - most : 0;
  for (std::size_t i = from; i < lines.size(); ++i) {
    // "..., in <function with all its template arguments>, <path>(<line>)": the file is enough.
    std::string_view step = lines[i];
    std::string_view place;
    if (const std::size_t in = step.find(", in "); in != std::string_view::npos) {
      place = step.substr(std::max(step.rfind('/'), in) + 1);
      step = step.substr(0, in);
    }
    std::printf("  %.*s  %.*s\n", int(step.size()), step.data(), int(place.size()), place.data());
  }
}

/// True if the run went as it should.
bool judge(const Scenario& scenario, const Command& command) {
  const auto start = std::chrono::steady_clock::now();
  const Verdict verdict = scenario.run(command.options);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const char* const how =
      command.options.search == Search::random ? "random" : "bounded preemptions";
  const auto executions = static_cast<unsigned long long>(verdict.executions);
  if (verdict.result == rl::test_result_success) {
    // A bounded search says "every execution": cut short, it has not shown that.
    const bool cut_short = verdict.time_box_hit && command.options.search == Search::bound;
    const bool good = command.refuted_by.empty() && !cut_short;
    std::printf("%s %s: not refuted in %llu executions (%s%s), %.1f s\n", good ? "ok" : "FAILED",
                scenario.name, executions, how,
                verdict.time_box_hit                       ? ", time box"
                : command.options.search != Search::random ? ", exhausted"
                                                           : "",
                took.count());
    return good;
  }
  const char* const result = rl::test_result_str(verdict.result);
  bool good = false;
  for (const std::string& expected : command.refuted_by) good = good || expected == result;
  std::printf("%s %s: refuted by %s in execution %llu (%s), %.1f s\n", good ? "ok" : "FAILED",
              scenario.name, result, executions, how, took.count());
  if (!good) print_history(verdict.history);
  return good;
}

} // namespace

int run_models(int argc, char** argv, std::span<const Scenario> scenarios) {
  const std::optional<Command> command = parse(argc, argv);
  if (!command) {
    std::fprintf(stderr, usage, argv[0]);
    return 2;
  }
  bool good = true;
  std::size_t run = 0;
  for (const Scenario& scenario : scenarios) {
    if (scenario.name == nullptr) continue;
    if (command->list) {
      std::printf("%s\n", scenario.name);
      continue;
    }
    bool wanted = command->names.empty();
    for (const std::string& name : command->names) wanted = wanted || name == scenario.name;
    if (!wanted) continue;
    if (command->options.search == Search::bound && !scenario.exhaustible) {
      std::fprintf(stderr, "%s: %s is too large for --search bound\n", argv[0], scenario.name);
      good = false;
      continue;
    }
    ++run;
    good = judge(scenario, *command) && good;
  }
  if (!command->list && (run == 0 || run < command->names.size())) {
    std::fprintf(stderr, "%s: no such scenario; --list names them\n", argv[0]);
    return 2;
  }
  return good ? 0 : 1;
}

} // namespace slat::model
