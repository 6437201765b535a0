// How an edit of a RangeTree rebuilds nodes.
//
// A replacement descends along the two borders of what it removes, and works upwards from the
// leaves. On each level the new items are
//
//   [left neighbour] + left border node up to the border      items kept
//   + what is new: entries in a leaf, the nodes just built in an inner node
//   + right border node from the border + [right neighbour]   items kept
//
// They are dealt out to fresh nodes, which are what is new one level up. A neighbour is drawn in
// when there are too few for a node. The level that has no nodes beside the borders is the top. It ends
// below where one fresh node looks to its parent like the one before: that is a graft.
#include "mmu/range_tree.hpp"

#include "mmu/range_tree_node.hpp"

#include <cstring>

namespace slat::mmu::detail {

using Node = RangeTreeBase::Node;
using Entry = RangeTreeBase::Entry;

namespace {

constexpr unsigned max_levels = RangeTreeBase::max_levels;

/// From the root (highest level) to a leaf. The index is the child taken, in the leaf the first entry
/// beyond the border.
struct Path {
  Node* node[max_levels];
  unsigned index[max_levels];

  void copy(const Path& from, unsigned levels) {
    for (unsigned level = 0; level <= levels; ++level) {
      node[level] = from.node[level];
      index[level] = from.index[level];
    }
  }
};

} // namespace

/// One replace(). Changes nothing of the edit until it cannot fail any more.
class Replacement {
 public:
  Replacement(RangeTreeBase::Edit& edit, std::uintptr_t start, std::uintptr_t end,
              const void* entries, std::size_t count)
      : edit_(edit), entries_(static_cast<const std::byte*>(entries)), entry_count_(count) {
    if (!is_empty()) {
      descend(start, end);
      old_left_.copy(left_, levels());
      old_right_.copy(right_, levels());
    }
    check_entries();
  }

  /// True if the tree would stay as it is.
  [[nodiscard]] bool is_nothing() const {
    return entry_count_ == 0 &&
           (is_empty() || (left_.node[0] == right_.node[0] && left_.index[0] == right_.index[0]));
  }

  /// False without memory, and then nothing has happened.
  bool run();

 private:
  [[nodiscard]] unsigned levels() const { return edit_.root_.level(); }

  [[nodiscard]] bool is_empty() const { return edit_.root_.node() == nullptr; }

  [[nodiscard]] Entry entry(std::size_t i) const {
    Entry result;
    std::memcpy(&result, entries_ + i * sizeof(Entry), sizeof(Entry));
    return result;
  }

  void descend(std::uintptr_t start, std::uintptr_t end);
  void check_entries() const;
  bool step_left(unsigned level, Run& run);
  bool step_right(unsigned level, Run& run);
  [[nodiscard]] bool is_top(unsigned level) const;
  [[nodiscard]] bool is_graft(unsigned level) const;
  void set_new(Node* node, unsigned slot, std::size_t i, Node*& fresh_child) const;
  static bool is_one_for_one(const Run (&runs)[4], std::size_t items);
  bool build(unsigned level, const Run (&runs)[4], std::size_t items);
  Node* create(unsigned level);
  std::size_t retire(Node* node, unsigned level, bool on_left, bool on_right);

  RangeTreeBase::Edit& edit_;
  const std::byte* const entries_;
  const std::size_t entry_count_;
  Path left_;  // border of what stays on the left; neighbours drawn in move it
  Path right_; // the same on the right
  Path old_left_;
  Path old_right_;
  Node* made_ = nullptr; // all fresh nodes, in order, by chain
  Node* last_made_ = nullptr;
  Node* built_ = nullptr; // the first of the level built last
  std::size_t built_count_ = 0;
};

void Replacement::descend(std::uintptr_t start, std::uintptr_t end) {
  // Left: the first entry that ends after `start`; beyond all entries, the end of the last leaf.
  Node* node = edit_.root_.node();
  for (unsigned level = levels(); level > 0; --level) {
    left_.node[level] = node;
    left_.index[level] =
        std::min(slot_for(as_inner(node).last_end, start), unsigned(node->count) - 1);
    node = own_child_of(as_inner(node), left_.index[level]);
    prefetch(node, level - 1);
  }
  const Leaf& first = as_leaf(node);
  left_.node[0] = node;
  left_.index[0] = std::min(slot_for(first.end, start), unsigned(first.count));
  if (left_.index[0] < first.count && first.end[left_.index[0]] <= start) ++left_.index[0];
  right_.copy(left_, levels());
  if (start == end) return;

  // Right: behind the last entry that starts before `end`, if that is not left of left_.
  right_.index[0] = std::max(left_.index[0], starts_below(first, end));
  if (right_.index[0] < first.count) return; // as most often: in the same leaf
  Path path;
  node = edit_.root_.node();
  for (unsigned level = levels(); level > 0; --level) {
    path.node[level] = node;
    path.index[level] = std::max(1u, starts_below(as_inner(node), end)) - 1;
    node = own_child_of(as_inner(node), path.index[level]);
  }
  path.node[0] = node;
  path.index[0] = starts_below(as_leaf(node), end);
  if (path.index[0] > 0 && as_leaf(node).end[path.index[0] - 1] > start)
    right_.copy(path, levels());
}

/// The caller's side of the contract; in checked builds.
void Replacement::check_entries() const {
#ifdef SLAT_CHECKED
  std::uintptr_t low = 0;
  std::uintptr_t high = UINTPTR_MAX;
  if (!is_empty()) {
    for (unsigned level = levels(); level > 0; --level) { // the closest neighbours come last
      const Inner& left = as_inner(left_.node[level]);
      const Inner& right = as_inner(right_.node[level]);
      if (left_.index[level] > 0) low = left.last_end[left_.index[level] - 1];
      if (right_.index[level] + 1 < right.count) high = right.first_start[right_.index[level] + 1];
    }
    if (left_.index[0] > 0) low = as_leaf(left_.node[0]).end[left_.index[0] - 1];
    if (right_.index[0] < right_.node[0]->count)
      high = as_leaf(right_.node[0]).slot[right_.index[0]].start;
  }
  for (std::size_t i = 0; i < entry_count_; ++i) {
    const Entry fresh = entry(i);
    SLAT_ASSERT(fresh.start < fresh.end, "a range of no length");
    SLAT_ASSERT(fresh.value != nullptr, "a range with no value");
    SLAT_ASSERT(fresh.start >= low && fresh.end <= high, "ranges overlap or are out of order");
    low = fresh.end;
  }
#endif
}

/// Draws the node before left_ on this level in: all its items become `run`.
bool Replacement::step_left(unsigned level, Run& run) {
  unsigned up = level + 1;
  while (up <= levels() && left_.index[up] == 0) ++up;
  if (up > levels()) return false;
  --left_.index[up];
  Node* node = own_child_of(as_inner(left_.node[up]), left_.index[up]);
  while (--up > level) {
    left_.node[up] = node;
    left_.index[up] = node->count - 1u;
    node = own_child_of(as_inner(node), left_.index[up]);
  }
  run = {node, 0, node->count};
  return true;
}

bool Replacement::step_right(unsigned level, Run& run) {
  unsigned up = level + 1;
  while (up <= levels() && right_.index[up] + 1u == right_.node[up]->count) ++up;
  if (up > levels()) return false;
  ++right_.index[up];
  Node* node = own_child_of(as_inner(right_.node[up]), right_.index[up]);
  while (--up > level) {
    right_.node[up] = node;
    right_.index[up] = 0;
    node = own_child_of(as_inner(node), 0);
  }
  run = {node, 0, node->count};
  return true;
}

/// No node of this level stays beside the new ones.
bool Replacement::is_top(unsigned level) const {
  if (is_empty()) return true;
  for (unsigned up = level + 1; up <= levels(); ++up)
    if (left_.index[up] > 0 || right_.index[up] + 1u < right_.node[up]->count) return false;
  return true;
}

/// What was built last, on `level`, needs no new parent. One store publishes one change: an edit that has
/// another already goes up to the root with both.
bool Replacement::is_graft(unsigned level) const {
  if (built_count_ != 1 || is_empty() || level >= levels() || edit_.is_changed()) return false;
  const unsigned up = level + 1;
  return left_.node[up] == right_.node[up] && left_.index[up] == right_.index[up] &&
         summarize(*built_) == summary_in(as_inner(left_.node[up]), left_.index[up]);
}

Node* Replacement::create(unsigned level) {
  Node* const node = create_node(level, edit_.tree_->edit_number_);
  if (node == nullptr) return nullptr;
  (last_made_ == nullptr ? made_ : last_made_->chain) = node;
  last_made_ = node;
  return node;
}

/// Sets slot `slot` of a fresh node to new item `i`.
void Replacement::set_new(Node* node, unsigned slot, std::size_t i, Node*& fresh_child) const {
  if (node->level == 0) {
    set_entry(static_cast<Leaf&>(*node), slot, entry(i));
  } else {
    set_child(static_cast<Inner&>(*node), slot, fresh_child);
    fresh_child = fresh_child->chain;
  }
}

/// What most edits do on most levels: one item of one node takes the place of another.
bool Replacement::is_one_for_one(const Run (&runs)[4], std::size_t items) {
  return runs[1].node != nullptr && runs[1].node == runs[2].node &&
         runs[2].first == runs[1].last + 1 && items == runs[1].node->count;
}

/// Deals the items out to fresh nodes: two kept runs, what is new, two kept runs.
bool Replacement::build(unsigned level, const Run (&runs)[4], std::size_t items) {
  const std::size_t nodes = (items + slots(level) - 1) / slots(level);
  std::size_t first = (items + nodes - 1) / nodes; // how many the first node gets
  if (nodes == 2) {
    // Who inserts at one end will do so again: leave the room there.
    const bool at_end = runs[2].size() + runs[3].size() == 0;
    const bool at_start = runs[0].size() + runs[1].size() == 0;
    const std::size_t most = std::min<std::size_t>(slots(level), items - min_fill(level));
    if (at_end && !at_start) first = most;
    if (at_start && !at_end) first = items - most;
  }
  Node* fresh_child = built_;
  built_ = nullptr;
  built_count_ = nodes;
  if (is_one_for_one(runs, items)) {
    built_ = create(level);
    if (built_ == nullptr) return false;
    copy_all(built_, runs[1].node);
    set_new(built_, runs[1].last, 0, fresh_child);
    return true;
  }
  Node* node = nullptr;
  std::size_t room = 0;
  std::size_t left = items; // for this node and those to come
  std::size_t nodes_left = nodes;
  const auto next_node = [&] {
    if (room > 0) return true;
    if (node != nullptr) pad(node);
    node = create(level);
    if (node == nullptr) return false;
    if (built_ == nullptr) built_ = node;
    room = nodes_left == nodes ? first : (left + nodes_left - 1) / nodes_left;
    left -= room;
    --nodes_left;
    return true;
  };
  const auto append = [&](Run run) {
    while (run.size() > 0) {
      if (!next_node()) return false;
      const unsigned taken = std::min(run.size(), unsigned(room));
      append_run(node, {run.node, run.first, run.first + taken});
      run.first += taken;
      room -= taken;
    }
    return true;
  };
  if (!append(runs[0]) || !append(runs[1])) return false;
  std::size_t fresh = items;
  for (const Run& run : runs) fresh -= run.size();
  for (std::size_t i = 0; i < fresh; ++i, --room) {
    if (!next_node()) return false;
    set_new(node, node->count++, i, fresh_child);
  }
  if (!append(runs[2]) || !append(runs[3])) return false;
  pad(node);
  return true;
}

bool Replacement::run() {
  Node* drawn_in[max_levels]; // the neighbours
  unsigned drawn_in_count = 0;
  std::size_t fresh = entry_count_;
  RangeTreeBase::Subtree root;
  RangeTreeBase::Graft graft;
  for (unsigned level = 0;; ++level) {
    SLAT_CHECK(level < max_levels, "a range tree too high to be true");
    Run runs[4];
    if (!is_empty() && level <= levels()) {
      Node* const right = right_.node[level];
      runs[1] = {left_.node[level], 0, left_.index[level]};
      runs[2] = {right, right_.index[level] + (level > 0), right->count};
    }
    std::size_t items = runs[1].size() + fresh + runs[2].size();
    if (items > 0 && items < min_fill(level) && !is_empty()) {
      if (step_left(level, runs[0]) || step_right(level, runs[3])) {
        const Run& run = runs[0].node != nullptr ? runs[0] : runs[3];
        items += run.size();
        drawn_in[drawn_in_count++] = run.node;
      }
    }
    const bool top = is_top(level);
    if (top && items == 0) break; // the tree is empty now
    if (top && level > 0 && items == 1) {
      const auto only = [&]() -> Node* {
        if (fresh == 1) return built_;
        for (const Run& run : runs)
          if (run.size() == 1) return own_child_of(as_inner(run.node), run.first);
        return nullptr;
      };
      root = {only(), level - 1};
      break;
    }
    built_count_ = 0;
    if (items > 0 && !build(level, runs, items)) {
      while (made_ != nullptr) free_node(std::exchange(made_, made_->chain));
      return false;
    }
    fresh = built_count_;
    if (is_graft(level)) {
      graft = {left_.node[level + 1], left_.index[level + 1], built_};
      break;
    }
    if (top && fresh == 1) {
      root = {built_, level};
      break;
    }
  }

  // Nothing can fail from here on.
  if (!is_empty()) {
    for (unsigned i = 0; i < drawn_in_count; ++i) edit_.retire(drawn_in[i]);
    for (unsigned level = 1; level <= levels(); ++level) {
      if (left_.node[level] != old_left_.node[level]) edit_.retire(left_.node[level]);
      if (right_.node[level] != old_right_.node[level]) edit_.retire(right_.node[level]);
    }
    edit_.size_ -= graft.child == nullptr ? retire(edit_.root_.node(), levels(), true, true)
                                          : retire(own_child_of(as_inner(graft.parent), graft.slot),
                                                   graft.child->level, true, true);
  }
  edit_.size_ += entry_count_;
  edit_.graft_ = graft;
  if (graft.child == nullptr) edit_.root_ = root;
  return true;
}

/// Retires the nodes on and between the two old borders; returns how many entries lay between.
std::size_t Replacement::retire(Node* node, unsigned level, bool on_left, bool on_right) {
  const unsigned first = on_left ? old_left_.index[level] : 0;
  std::size_t entries = 0;
  if (level == 0) {
    entries = (on_right ? old_right_.index[0] : node->count) - first;
  } else {
    const unsigned last = on_right ? old_right_.index[level] : node->count - 1u;
    for (unsigned i = first; i <= last; ++i)
      entries += retire(own_child_of(as_inner(node), i), level - 1, on_left && i == first,
                        on_right && i == last);
  }
  edit_.retire(node);
  return entries;
}

namespace {

/// Frees the nodes of edit `number` below `node`; published nodes have no fresh ones below.
void free_fresh(Node* node, std::uint64_t number) {
  if (node->edit != number) return;
  if (node->level > 0)
    for (unsigned i = 0; i < node->count; ++i) free_fresh(own_child_of(as_inner(node), i), number);
  free_node(node);
}

} // namespace

RangeTreeBase::Edit::Edit(RangeTreeBase& tree)
    : tree_(&tree), root_(tree.root()), size_(tree.size_), retired_(tree.retired_),
      retired_count_(tree.retired_count_) {
  SLAT_ASSERT(!tree.editing_, "a second edit of a tree");
  tree.editing_ = true;
  ++tree.edit_number_;
}

RangeTreeBase::Edit::Edit(Edit&& other) noexcept
    : tree_(std::exchange(other.tree_, nullptr)), root_(other.root_), graft_(other.graft_),
      size_(other.size_), retired_(other.retired_), retired_count_(other.retired_count_),
      failed_(other.failed_) {}

bool RangeTreeBase::Edit::is_changed() const {
  return root_ != tree_->root();
}

void RangeTreeBase::Edit::retire(Node* node) {
  if (node->edit == tree_->edit_number_) {
    free_node(node); // nobody else has seen it
    return;
  }
  node->chain = retired_; // readers do not look at it
  retired_ = node;
  ++retired_count_;
}

/// Copies the nodes above the graft, so that the change is root_'s. False without memory.
bool RangeTreeBase::Edit::lift_graft() {
  const Graft graft = std::exchange(graft_, {});
  if (graft.child == nullptr) return true;
  const std::uintptr_t address = summarize(*graft.child).first_start;
  Node* path[max_levels];
  Node* node = root_.node();
  for (unsigned level = root_.level(); level > graft.parent->level; --level) {
    path[level] = node;
    node = own_child_of(as_inner(node), slot_for(as_inner(node).last_end, address));
  }
  path[graft.parent->level] = graft.parent;
  Node* fresh = graft.child;
  for (unsigned level = graft.parent->level; level <= root_.level(); ++level) {
    Node* const copy = create_node(level, tree_->edit_number_);
    if (copy == nullptr) {
      free_fresh(fresh, tree_->edit_number_);
      return false;
    }
    copy_all(copy, path[level]);
    const unsigned slot = slot_for(as_inner(copy).last_end, address);
    put_child(static_cast<Inner&>(*copy), slot, fresh); // whose summary has not changed
    fresh = copy;
  }
  for (unsigned level = graft.parent->level; level <= root_.level(); ++level) retire(path[level]);
  root_ = {fresh, root_.level()};
  return true;
}

RangeTreeBase::Edit::~Edit() {
  if (tree_ == nullptr) return;
  for (Node* const node : {root_.node(), graft_.child})
    if (node != nullptr) free_fresh(node, tree_->edit_number_);
  tree_->editing_ = false;
}

Result<void> RangeTreeBase::Edit::replace(std::uintptr_t start, std::uintptr_t end,
                                          const void* entries, std::size_t count) {
  SLAT_ASSERT(tree_ != nullptr && !failed_ && start <= end, "an edit that is over, or no range");
  if (lift_graft()) {
    Replacement replacement(*this, start, end, entries, count);
    if (replacement.is_nothing() || replacement.run()) return {};
  }
  failed_ = true;
  return fail(Errc::no_memory, ENOMEM, "no memory for a range tree's nodes");
}

} // namespace slat::mmu::detail
