#include "search.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <unordered_map>

namespace slat::explore {

namespace {

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "slat-explore: {}\n", what);
  std::_Exit(2);
}

/// The same thread if it can, else the first: without a preemption.
unsigned stay(const Choice& choice) {
  if (choice.last >= 0 && (choice.enabled >> choice.last & 1) != 0) return unsigned(choice.last);
  return unsigned(std::countr_zero(choice.enabled));
}

} // namespace

// ---- depth first

unsigned DepthFirst::choose(const Choice& choice) {
  if (choice.step < nodes_.size()) {
    const Node& node = nodes_[choice.step];
    if (node.enabled != choice.enabled || node.last != choice.last) {
      compare(Scheduler::active()->steps());
      give_up(fmt::format("the scenario is not deterministic: step {} could be done by {:#x}, and "
                          "now by {:#x}",
                          choice.step, node.enabled, choice.enabled));
    }
    return node.chosen;
  }
  Node node;
  node.enabled = choice.enabled;
  node.last = choice.last;
  node.chosen = stay(choice);
  if (!nodes_.empty()) {
    const Node& before = nodes_.back();
    node.preemptions = before.preemptions + (preempts(before, before.chosen) ? 1 : 0);
  }
  node.wanted = options_.reduce ? 1u << node.chosen : node.enabled;
  node.tried = 1u << node.chosen;
  nodes_.push_back(node);
  return node.chosen;
}

void DepthFirst::compare(const std::vector<Step>& steps) const {
  for (std::size_t i = 0; i < std::min({steps.size(), before_.size(), repeated_}); ++i) {
    const Operation& then = before_[i].operation;
    const Operation& now = steps[i].operation;
    if (std::string_view(then.name) != now.name || then.where.line() != now.where.line())
      give_up(
          fmt::format("the scenario is not deterministic: step {} was {} ({}:{}), and now is {} "
                      "({}:{})",
                      i, then.name, then.where.file_name(), then.where.line(), now.name,
                      now.where.file_name(), now.where.line()));
  }
}

bool DepthFirst::end(const std::vector<Step>& steps) {
  compare(steps);
  before_ = steps;
  if (options_.reduce) find_races(steps);
  while (!nodes_.empty()) {
    Node& node = nodes_.back();
    for (ThreadSet left = node.wanted & ~node.tried; left != 0; left &= left - 1) {
      const auto thread = unsigned(std::countr_zero(left));
      node.tried |= 1u << thread;
      if (node.preemptions + (preempts(node, thread) ? 1 : 0) > options_.preemptions) continue;
      node.chosen = thread;
      repeated_ = nodes_.size() - 1; // the last one is a new choice
      return true;
    }
    nodes_.pop_back();
  }
  return false;
}

void DepthFirst::want(std::size_t step, unsigned thread) {
  Node& node = nodes_[step];
  node.wanted |= (node.enabled >> thread & 1) != 0 ? 1u << thread : node.enabled;
}

namespace {

using Clock = std::array<std::uint32_t, max_threads>; // steps of each thread that come before

void join(Clock& clock, const Clock& other) {
  for (unsigned i = 0; i < max_threads; ++i) clock[i] = std::max(clock[i], other[i]);
}

/// The last step of a kind on an object, by its place in the execution from 1; 0: none.
using Last = std::array<std::uint32_t, max_threads>;

/// What has been done to an object.
struct History {
  Clock after_writes{}; // and all that came before them
  Clock after_reads{};
  Last reads{}; // without releases
  Last writes{};
  Last releases{};
};

/// What find_races() notes of a step.
struct Place {
  std::uint32_t count = 0;    // of its thread's steps, from 1
  std::uint32_t block = 0;    // where the thread began to run without interruption
  std::uint32_t previous = 0; // of the same kind on the same object by the same thread, as in Last
};

} // namespace

void DepthFirst::find_races(const std::vector<Step>& steps) {
  static std::unordered_map<const void*, History> histories; // kept for its buckets
  static std::vector<Place> places;
  histories.clear();
  places.assign(steps.size(), {});
  std::array<Clock, max_threads> clocks{};
  std::uint32_t block = 0;
  for (std::uint32_t i = 0; i < steps.size(); ++i) {
    const auto& [thread, operation] = steps[i];
    if (i != 0 && steps[i - 1].thread != thread) block = i;
    Clock& clock = clocks[thread];
    if (operation.object == nullptr || operation.access == Access::none) {
      ++clock[thread];
      continue;
    }
    History& history = histories[operation.object];
    const bool writes = operation.access == Access::write;
    // Those that are repeated have been looked at before.
    if (i >= repeated_ && operation.kind != Kind::resume) {
      // All that nothing else orders, not only the last of them: under a bound it may be the first alone that
      // can still be reversed.
      const auto race = [&](std::uint32_t last, unsigned other) {
        for (; last != 0 && places[last - 1].count > clock[other];
             last = places[last - 1].previous) {
          want(last - 1, thread);
          want(places[last - 1].block, thread);
          // Inside of a lock's section this thread would come to a stop here, and the switch back be free.
          if (operation.kind != Kind::blocking) continue;
          for (std::uint32_t at = last; at < i; ++at) {
            if (steps[at].thread != other) continue;
            want(at, thread);
            if (steps[at].operation.object == operation.object) break;
          }
        }
      };
      for (unsigned other = 0; other < max_threads; ++other) {
        if (other == thread) continue;
        race(history.writes[other], other);
        if (writes) race(history.reads[other], other);
        // What a release enables was not enabled beside it.
        if (operation.kind == Kind::plain) race(history.releases[other], other);
        if (operation.bytes > 1) { // what was done to a part of it
          const auto start = reinterpret_cast<std::uintptr_t>(operation.object);
          for (const auto& [object, part] : histories)
            if (reinterpret_cast<std::uintptr_t>(object) - start < operation.bytes)
              for (const Last* const last : {&part.reads, &part.writes, &part.releases})
                race((*last)[other], other);
        }
      }
    }
    join(clock, history.after_writes);
    if (writes) join(clock, history.after_reads);
    ++clock[thread];
    if (operation.kind == Kind::resume) continue;
    Last& last = operation.kind == Kind::release ? history.releases
                 : writes                        ? history.writes
                                                 : history.reads;
    places[i] = {clock[thread], block, last[thread]};
    last[thread] = i + 1;
    join(writes ? history.after_writes : history.after_reads, clock);
  }
}

// ---- random

void RandomPriorities::begin() {
  random_.seed(options_.seed * 1000003 + done_);
  for (unsigned i = 0; i < max_threads; ++i) priorities_[i] = int(options_.depth + i);
  std::shuffle(priorities_.begin(), priorities_.end(), random_);
  changes_.clear();
  for (unsigned i = 1; i < options_.depth; ++i)
    changes_.push_back(std::uniform_int_distribution<std::size_t>(0, longest_)(random_));
}

unsigned RandomPriorities::choose(const Choice& choice) {
  for (unsigned i = 0; i < changes_.size(); ++i)
    if (changes_[i] == choice.step && choice.last >= 0)
      priorities_[std::size_t(choice.last)] = int(options_.depth) - 1 - int(i);
  unsigned best = unsigned(std::countr_zero(choice.enabled));
  for (unsigned id = 0; id < max_threads; ++id)
    if ((choice.enabled >> id & 1) != 0 && priorities_[id] > priorities_[best]) best = id;
  return best;
}

bool RandomPriorities::end(const std::vector<Step>& steps) {
  longest_ = std::max(longest_, steps.size());
  return ++done_ < options_.executions;
}

// ---- replay

unsigned Replay::choose(const Choice& choice) {
  if (choice.step >= threads_.size()) return stay(choice);
  const unsigned thread = threads_[choice.step];
  if (thread >= max_threads || (choice.enabled >> thread & 1) == 0)
    give_up(
        fmt::format("the schedule does not fit: thread {} cannot do step {}", thread, choice.step));
  return thread;
}

// ---- what was seen

void Histories::add(const std::vector<Step>& steps) {
  const auto mix = [](std::uint64_t hash, std::uint64_t more) {
    return (hash ^ more) * 0x9e3779b97f4a7c15 + (hash >> 29);
  };

  struct Write {
    std::uint64_t thread = max_threads;
    std::uint64_t count = 0;
  };

  std::unordered_map<const void*, Write> writes;
  std::array<std::uint64_t, max_threads> hashes{};
  std::array<std::uint64_t, max_threads> counts{};
  for (const auto& [thread, operation] : steps) {
    if (operation.kind == Kind::resume || operation.object == nullptr) continue;
    Write& write = writes[operation.object];
    std::uint64_t& hash = hashes[thread];
    hash = mix(mix(mix(hash, operation.where.line()), write.thread), write.count);
    ++counts[thread];
    if (operation.access == Access::write) write = {thread, counts[thread]};
  }
  for (unsigned thread = 0; thread < max_threads; ++thread)
    seen_.insert(mix(hashes[thread], thread));
}

std::string to_text(const std::vector<Step>& steps) {
  std::string text;
  for (std::size_t i = 0; i < steps.size();) {
    std::size_t end = i;
    while (end < steps.size() && steps[end].thread == steps[i].thread) ++end;
    text += fmt::format("{}{}x{}", text.empty() ? "" : ",", steps[i].thread, end - i);
    i = end;
  }
  return text;
}

std::vector<unsigned> from_text(const std::string& text) {
  std::vector<unsigned> threads;
  for (std::size_t at = 0; at < text.size();) {
    unsigned thread = 0;
    unsigned count = 0;
    int used = 0;
    if (std::sscanf(text.c_str() + at, "%ux%u%n", &thread, &count, &used) != 2 || count > 1000000)
      return {};
    threads.insert(threads.end(), count, thread);
    at += std::size_t(used);
    if (at < text.size() && text[at++] != ',') return {};
  }
  return threads;
}

} // namespace slat::explore
