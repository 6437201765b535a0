// The strategies: depth-first with a preemption bound, random with priorities, and replay.
//
// Depth first. An execution is a row of choices. The next execution repeats the row up to its last choice
// with an alternative, takes that, and goes on without preemptions where it can. A preemption is a switch
// away from a thread that could have gone on; no execution has more than the bound.
//
// Reduction. Two steps that commute need no second order: alternatives are entered only where a later step
// of another thread touched the same object, one of the two wrote, and nothing orders them but chance
// (Flanagan and Godefroid, "Dynamic partial-order reduction", POPL 2005). Under a bound that alone would
// miss executions whose reversal costs a preemption too many, so each alternative is also entered where the
// block of steps begins in which it lies: there the switch is free (Coons, Musuvathi and McKinley, "Bounded
// partial-order reduction", OOPSLA 2013). Sleep sets are not sound under the bound and are left out.
#pragma once

#include "scheduler.hpp"

#include <array>
#include <cstdint>
#include <random>
#include <unordered_set>

namespace slat::explore {

class DepthFirst final : public Strategy {
 public:
  struct Options {
    unsigned preemptions = 2;
    bool reduce = true;
  };

  explicit DepthFirst(const Options& options) : options_(options) {}

  void begin() override {}

  unsigned choose(const Choice& choice) override;
  bool end(const std::vector<Step>& steps) override;

 private:
  struct Node {
    ThreadSet enabled = 0;
    ThreadSet wanted = 0; // to be tried
    ThreadSet tried = 0;
    unsigned chosen = 0;
    int last = -1;
    unsigned preemptions = 0; // before this choice
  };

  [[nodiscard]] static bool preempts(const Node& node, unsigned thread) {
    return node.last >= 0 && unsigned(node.last) != thread && (node.enabled >> node.last & 1) != 0;
  }

  void find_races(const std::vector<Step>& steps);
  /// Ends the program if a repeated step is not what it was.
  void compare(const std::vector<Step>& steps) const;
  void want(std::size_t step, unsigned thread);

  const Options options_;
  std::vector<Node> nodes_;  // of the execution under way, or to be repeated
  std::size_t repeated_ = 0; // of them are from the one before
  std::vector<Step> before_; // the execution before
};

/// Random priorities, lowered at `depth` - 1 random steps (Burckhardt et al., "A randomized scheduler with
/// probabilistic guarantees of finding bugs", ASPLOS 2010).
class RandomPriorities final : public Strategy {
 public:
  struct Options {
    std::uint64_t executions = 1000;
    std::uint64_t seed = 1;
    unsigned depth = 4;
  };

  explicit RandomPriorities(const Options& options) : options_(options) {}

  void begin() override;
  unsigned choose(const Choice& choice) override;
  bool end(const std::vector<Step>& steps) override;

 private:
  const Options options_;
  std::uint64_t done_ = 0;
  std::size_t longest_ = 100; // steps of an execution so far
  std::mt19937_64 random_;
  std::array<int, max_threads> priorities_{};
  std::vector<std::size_t> changes_;
};

/// One execution, as a schedule says, and without preemptions after its end.
class Replay final : public Strategy {
 public:
  explicit Replay(std::vector<unsigned> threads) : threads_(std::move(threads)) {}

  void begin() override {}

  unsigned choose(const Choice& choice) override;

  bool end(const std::vector<Step>&) override { return false; }

 private:
  const std::vector<unsigned> threads_;
};

/// What threads can have seen: the histories of single threads, each a row of steps with, for each, which write it
/// came after. Two searches of one scenario and bound that find as many have found the same, if one of them runs
/// a part of the other's executions: that is how the reduction is checked.
class Histories {
 public:
  void add(const std::vector<Step>& steps);

  [[nodiscard]] std::size_t count() const { return seen_.size(); }

 private:
  std::unordered_set<std::uint64_t> seen_;
};

/// A schedule as text: the threads of the steps, in runs: "1x12,0x3".
[[nodiscard]] std::string to_text(const std::vector<Step>& steps);
/// Empty if that is no schedule.
[[nodiscard]] std::vector<unsigned> from_text(const std::string& text);

} // namespace slat::explore
