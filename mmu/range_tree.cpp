// RangeTree: lookups, gaps, commit and teardown.
#include "mmu/range_tree.hpp"

#include "mmu/range_tree_node.hpp"
#include "mmu/rcu.hpp"

namespace slat::mmu::detail {

using Node = RangeTreeBase::Node;

namespace {

Node* node_of(DeferredCall* call) {
  static_assert(offsetof(Node, deferred) == 0);
  return reinterpret_cast<Node*>(call);
}

/// Nodes that commits gather before they ask for a grace period: to wake the reclaimer for each commit
/// costs as much as the rest of it. Kept per tree: some 30 KiB.
constexpr std::size_t retire_batch = 64;

void free_chain(Node* node) {
  while (node != nullptr) free_node(std::exchange(node, node->chain));
}

/// Where `length` bytes fit into [from, to), for find_gap().
std::optional<std::uintptr_t> fit(std::uintptr_t from, std::uintptr_t to, std::size_t length,
                                  std::size_t alignment) {
  const std::uintptr_t aligned = (from + alignment - 1) & ~(std::uintptr_t(alignment) - 1);
  if (aligned < from || aligned >= to || to - aligned < length) return std::nullopt;
  return aligned;
}

struct GapSearch {
  std::uintptr_t low;
  std::uintptr_t high;
  std::size_t length;
  std::size_t alignment;
  std::uintptr_t free_from = 0; // end of the entry before

  /// The gap between the entry before and `start`.
  [[nodiscard]] std::optional<std::uintptr_t> before(std::uintptr_t start) const {
    return fit(std::max(free_from, low), std::min(start, high), length, alignment);
  }

  /// The gaps before the first entry of `node` and inside it.
  std::optional<std::uintptr_t> in(const Node* node) {
    for (unsigned i = 0; i < node->count; ++i) {
      const std::uintptr_t start =
          node->level == 0 ? as_leaf(node).slot[i].start : as_inner(node).first_start[i];
      const std::uintptr_t end =
          node->level == 0 ? as_leaf(node).end[i] : as_inner(node).last_end[i];
      if (end > low) {
        if (free_from >= high) return std::nullopt;
        if (const auto found = before(start)) return found;
        if (node->level > 0 && as_inner(node).max_gap[i] >= length) {
          free_from = start; // done with what is before
          if (const auto found = in(child_of(as_inner(node), i))) return found;
        }
      }
      free_from = end;
    }
    return std::nullopt;
  }
};

} // namespace

void* RangeTreeBase::find(std::uintptr_t address) const {
  const Subtree root = this->root();
  const Node* node = root.node();
  if (node == nullptr) return nullptr;
  for (unsigned level = root.level(); level > 0; --level) {
    reads_shared(node);
    const Inner& inner = as_inner(node);
    node = child_of(inner, slot_for(inner.last_end, address));
    if (node == nullptr) return nullptr;
  }
  reads_shared(node);
  const Leaf& leaf = as_leaf(node);
  // In a large tree leaves come from far away: fetch payload and keys at the same time.
  for (unsigned line = 0; line < leaf_slots; line += 4) __builtin_prefetch(&leaf.slot[line]);
  const unsigned i = slot_for(leaf.end, address);
  const Leaf::Slot& slot = leaf.slot[i];
  return slot.start <= address && address < leaf.end[i] ? slot.value : nullptr;
}

RangeTreeBase::Entry RangeTreeBase::first_from(std::uintptr_t address) const {
  const Subtree root = this->root();
  const Node* node = root.node();
  for (unsigned level = root.level(); level > 0 && node != nullptr; --level)
    node = child_of(as_inner(node), slot_for(as_inner(node).last_end, address));
  if (node == nullptr) return {};
  const Leaf& leaf = as_leaf(node);
  const unsigned i = slot_for(leaf.end, address);
  if (i >= leaf.count || leaf.end[i] <= address) return {};
  return {leaf.slot[i].start, leaf.end[i], leaf.slot[i].value};
}

RangeTreeBase::Entry RangeTreeBase::last_before(std::uintptr_t address) const {
  const Node* node = root().node();
  if (node == nullptr) return {};
  while (node->level > 0) {
    const unsigned below = starts_below(as_inner(node), address);
    if (below == 0) return {};
    node = child_of(as_inner(node), below - 1);
  }
  const Leaf& leaf = as_leaf(node);
  const unsigned below = starts_below(leaf, address);
  if (below == 0) return {};
  return {leaf.slot[below - 1].start, leaf.end[below - 1], leaf.slot[below - 1].value};
}

std::optional<std::uintptr_t> RangeTreeBase::find_gap(std::uintptr_t low, std::uintptr_t high,
                                                      std::size_t length,
                                                      std::size_t alignment) const {
  SLAT_ASSERT(length > 0 && std::has_single_bit(alignment), "a gap of no length or alignment");
  GapSearch search{low, high, length, alignment};
  if (const Node* const node = root().node(); node != nullptr)
    if (const auto found = search.in(node)) return found;
  return search.before(UINTPTR_MAX);
}

RangeTreeBase::Cursor::Cursor(Subtree root, std::uintptr_t address) {
  node_[0] = nullptr;
  const Node* node = root.node();
  if (node == nullptr) return;
  levels_ = root.level();
  for (unsigned level = levels_; level > 0; --level) {
    node_[level] = node;
    index_[level] = slot_for(as_inner(node).last_end, address);
    node = child_of(as_inner(node), index_[level]);
    if (node == nullptr) return;
  }
  index_[0] = slot_for(as_leaf(node).end, address);
  if (index_[0] < node->count && as_leaf(node).end[index_[0]] > address) node_[0] = node;
}

RangeTreeBase::Entry RangeTreeBase::Cursor::entry() const {
  const Leaf& leaf = as_leaf(node_[0]);
  return {leaf.slot[index_[0]].start, leaf.end[index_[0]], leaf.slot[index_[0]].value};
}

void RangeTreeBase::Cursor::next() {
  if (++index_[0] < node_[0]->count) return;
  for (unsigned level = 1; level <= levels_; ++level) {
    if (++index_[level] == node_[level]->count) continue;
    for (; level > 0; --level) {
      node_[level - 1] = child_of(as_inner(node_[level]), index_[level]);
      index_[level - 1] = 0;
    }
    return;
  }
  node_[0] = nullptr;
}

RangeTreeBase::~RangeTreeBase() {
  SLAT_ASSERT(!editing_, "a tree dies before its edit");
  free_chain(retired_);
  if (Node* const node = root().node(); node != nullptr) free_subtree(node);
}

void RangeTreeBase::Edit::commit() {
  SLAT_ASSERT(tree_ != nullptr, "an edit is committed twice");
  SLAT_ASSERT(!failed_, "an edit is committed that had no memory");
  RangeTreeBase& tree = *std::exchange(tree_, nullptr);
  tree.size_ = size_;
  if (graft_.child != nullptr) // pairs with child_of() (I11)
    static_cast<Inner&>(*graft_.parent)
        .child[graft_.slot]
        .store(graft_.child, std::memory_order_release);
  else
    tree.root_.store(root_, std::memory_order_release); // pairs with root() (I11)
  tree.editing_ = false;
  tree.retired_ = retired_;
  tree.retired_count_ = retired_count_;
  if (retired_count_ < retire_batch) return;
  tree.retired_ = nullptr;
  tree.retired_count_ = 0;
  rcu::call(retired_->deferred, [](DeferredCall* call) { free_chain(node_of(call)); });
}

void RangeTreeBase::clear() {
  SLAT_ASSERT(!editing_, "a tree is cleared under an edit");
  Node* const node = root().node();
  Node* const retired = std::exchange(retired_, nullptr);
  retired_count_ = 0;
  size_ = 0;
  root_.store(Subtree(), std::memory_order_release); // pairs with root() (I11)
  if (node != nullptr) {
    node->chain = retired; // readers do not look at it
    rcu::call(node->deferred, [](DeferredCall* call) {
      free_chain(node_of(call)->chain);
      free_subtree(node_of(call));
    });
  } else if (retired != nullptr) {
    rcu::call(retired->deferred, [](DeferredCall* call) { free_chain(node_of(call)); });
  }
}

} // namespace slat::mmu::detail
