#include "torture.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sys/mman.h>
#include <thread>

namespace slat::torture {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto patience = std::chrono::seconds(30);
constexpr unsigned failures_shown = 10;

std::atomic<unsigned> failures{0};

} // namespace

void report_failure(const std::string& what) {
  static std::mutex one_at_a_time;
  if (failures.fetch_add(1) >= failures_shown) return; // the first ones tell the story
  const std::lock_guard guard(one_at_a_time);
  fmt::print(stderr, "FAILED: {}\n", what);
}

void Worker::breathe() {
  if (one_in(2)) std::this_thread::sleep_for(std::chrono::microseconds(below(200)));
}

std::uintptr_t isolated_addresses(std::size_t bytes) {
  constexpr std::size_t guard = std::size_t(1) << 20;
  constexpr std::size_t above = std::size_t(16) << 30;
  void* const reserved = mmap(nullptr, guard + bytes + guard + above, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    fmt::print(stderr, "no address space to play in\n");
    std::exit(2);
  }
  const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(reserved) + guard;
  munmap(reinterpret_cast<void*>(start), bytes);
  munmap(reinterpret_cast<void*>(start + bytes + guard), above);
  return start;
}

std::unique_ptr<mmu::AddressSpace> make_mm(mmu::VmaLockDesign design, mmu::Counters& counters) {
  auto mm = mmu::AddressSpace::create(
      {.vma_lock = design, .first_sequence = (std::uint64_t(1) << 32) - 64}, counters);
  if (!mm) {
    fmt::print(stderr, "{}\n", mm.error().message);
    std::exit(2);
  }
  return std::move(*mm);
}

Torture::Torture(std::string name, int argc, char** argv, unsigned threads)
    : name_(std::move(name)), seed_(std::random_device{}()), threads_(threads) {
  CLI::App app(
      fmt::format("slat-torture-{}: looks for broken invariants with real threads", name_));
  app.add_option("--seconds", seconds_, "How long")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--seed", seed_, "Of the random choices; schedules differ all the same");
  app.add_option("--threads", threads_, "Readers or vCPUs; writers come on top")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str();
  app.add_option("--vma-lock", vma_lock_, "Design of VMA locks, where there is an address space")
      ->check(CLI::IsMember({"mmap-lock", "spf", "vma-rwsem", "vma-refcount"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
}

Torture::~Torture() {
  if (passed_ && failures.load() != 0) std::_Exit(1); // what main() returns is settled by now
}

void Torture::add_worker(const std::string& name, std::function<void(Worker&)> step) {
  workers_.emplace_back(std::make_unique<Worker>(name, unsigned(workers_.size()), seed_),
                        std::move(step));
}

void Torture::watch(const std::atomic<bool>& over,
                    const std::function<std::string()>& state) const {
  struct Seen {
    std::uint64_t steps = 0;
    Clock::time_point when = Clock::now();
  };

  std::vector<Seen> seen(workers_.size());
  while (!over) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      const std::uint64_t steps = workers_[i].first->steps.load(std::memory_order_relaxed);
      if (steps != seen[i].steps) seen[i] = {steps, Clock::now()};
      if (workers_[i].first->finished || Clock::now() - seen[i].when < patience) continue;
      fmt::print(stderr, "slat-torture-{}: {} is stuck. --seed {}\n", name_,
                 workers_[i].first->name(), seed_);
      for (const auto& entry : workers_)
        fmt::print(stderr, "  {}: {} steps\n", entry.first->name(), entry.first->steps.load());
      fmt::print(stderr, "{}\n", state());
      std::abort();
    }
  }
}

int Torture::run(const std::function<std::string()>& state,
                 const std::function<std::string()>& summary) {
  fmt::print("slat-torture-{}: {} s, --threads {} --seed {}\n", name_, seconds_, threads_, seed_);
  std::fflush(stdout);
  std::atomic<bool> stop{false};
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (auto& [worker, step] : workers_)
    threads.emplace_back([&, self = worker.get(), repeat = &step] {
      while (!stop.load(std::memory_order_relaxed)) {
        (*repeat)(*self);
        self->steps.fetch_add(1, std::memory_order_relaxed);
      }
      self->finished = true;
    });
  std::thread watchdog([&] { watch(over, state); });
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                           std::chrono::duration<double>(seconds_));
  while (Clock::now() < deadline && failures.load() == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  stop = true;
  for (std::thread& thread : threads) thread.join(); // still watched
  over = true;
  watchdog.join();
  const std::string text = summary(); // may check what must hold at the end
  const unsigned failed = failures.load();
  fmt::print("slat-torture-{}: {}, {}\n", name_,
             failed == 0 ? std::string("ok") : fmt::format("{} FAILURES", failed), text);
  passed_ = failed == 0;
  return passed_ ? 0 : 1;
}

} // namespace slat::torture
