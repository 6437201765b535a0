// RangeTree: the structural checker that tests use.
#include "mmu/range_tree.hpp"
#include "mmu/range_tree_node.hpp"

#include <fmt/format.h>

namespace slat::mmu::detail {

using Node = RangeTreeBase::Node;

namespace {

struct Checker {
  std::string problem;
  std::uintptr_t last_end = 0; // of the entry before
  std::size_t entries = 0;

  template <class... Args>
  void require(bool condition, fmt::format_string<Args...> text, Args... args) {
    if (!condition && problem.empty()) problem = fmt::vformat(text, fmt::make_format_args(args...));
  }

  void leaf(const Leaf& leaf) {
    for (unsigned i = 0; i < leaf.count; ++i) {
      require(leaf.slot[i].start >= last_end && leaf.end[i] > leaf.slot[i].start,
              "entry [{:#x}, {:#x}) after {:#x}", leaf.slot[i].start, leaf.end[i], last_end);
      require(leaf.slot[i].value != nullptr, "entry at {:#x} without a value", leaf.slot[i].start);
      last_end = leaf.end[i];
    }
    for (unsigned i = leaf.count; i < leaf_slots; ++i)
      require(leaf.end[i] == pad_key && leaf.slot[i].start == pad_key &&
                  leaf.slot[i].value == nullptr,
              "slot {} of a leaf of {} is not padded", i, leaf.count);
    entries += leaf.count;
  }

  void inner(const Inner& inner) {
    for (unsigned i = 0; i < inner.count; ++i) {
      subtree(own_child_of(inner, i), inner.level - 1u, false);
      const Summary summary = summarize(*own_child_of(inner, i));
      require(summary_in(inner, i) == summary, "summary of the child at {:#x} is wrong",
              summary.first_start);
    }
    for (unsigned i = inner.count; i < inner_slots; ++i)
      require(inner.last_end[i] == pad_key && inner.first_start[i] == pad_key &&
                  own_child_of(inner, i) == nullptr && inner.max_gap[i] == 0,
              "slot {} of an inner node of {} is not padded", i, inner.count);
  }

  void subtree(const Node* node, unsigned level, bool is_root) {
    require(node->level == level, "node of level {} on level {}", node->level, level);
    if (!problem.empty()) return;
    const unsigned least = !is_root ? min_fill(level) : level == 0 ? 1 : 2;
    require(node->count >= least && node->count <= slots(level), "{} slots used on level {}",
            node->count, level);
    if (!problem.empty()) return;
    level == 0 ? leaf(as_leaf(node)) : inner(as_inner(node));
  }
};

void measure(const Node* node, RangeTreeBase::Shape& shape) {
  if (node->level == 0) {
    ++shape.leaves;
    shape.bytes += sizeof(Leaf);
    return;
  }
  ++shape.inner_nodes;
  shape.bytes += sizeof(Inner);
  for (unsigned i = 0; i < node->count; ++i) measure(own_child_of(as_inner(node), i), shape);
}

} // namespace

std::string RangeTreeBase::check() const {
  Checker checker;
  if (const Subtree tree = root(); tree.node() != nullptr)
    checker.subtree(tree.node(), tree.level(), true);
  checker.require(checker.entries == size_, "{} entries, and a size of {}", checker.entries, size_);
  return checker.problem;
}

RangeTreeBase::Shape RangeTreeBase::shape() const {
  Shape shape;
  if (const Subtree tree = root(); tree.node() != nullptr) {
    shape.levels = tree.level() + 1;
    measure(tree.node(), shape);
  }
  return shape;
}

} // namespace slat::mmu::detail
