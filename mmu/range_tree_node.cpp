// RangeTree: what is done to single nodes.
#include "mmu/range_tree_node.hpp"

#include <cstring>
#include <new>

namespace slat::mmu::detail {

using Node = RangeTreeBase::Node;

namespace {

#ifdef SLAT_CHECKED
std::atomic<std::size_t> node_count{0};

void count_node(std::ptrdiff_t n) {
  node_count.fetch_add(std::size_t(n), std::memory_order_relaxed); // a statistic
}
#else
void count_node(std::ptrdiff_t) {}
#endif

template <class Item> void copy(Item* to, const Item* from, unsigned count) {
  std::memcpy(to, from, count * sizeof(Item));
}

} // namespace

Summary summarize(const Node& node) {
  std::uintptr_t gap = 0;
  if (node.level == 0) {
    const Leaf& leaf = as_leaf(&node);
    for (unsigned i = 1; i < leaf.count; ++i)
      gap = std::max(gap, leaf.slot[i].start - leaf.end[i - 1]);
    return {leaf.slot[0].start, leaf.end[leaf.count - 1], gap};
  }
  const Inner& inner = as_inner(&node);
  gap = inner.max_gap[0];
  for (unsigned i = 1; i < inner.count; ++i)
    gap = std::max({gap, inner.max_gap[i], inner.first_start[i] - inner.last_end[i - 1]});
  return {inner.first_start[0], inner.last_end[inner.count - 1], gap};
}

Node* create_node(unsigned level, std::uint64_t edit) {
  void* const memory = allocate(level == 0 ? sizeof(Leaf) : sizeof(Inner), alignof(Node));
  if (memory == nullptr) return nullptr;
  Node* const node = level == 0 ? static_cast<Node*>(new (memory) Leaf) : new (memory) Inner;
  node->level = std::uint16_t(level);
  node->edit = edit;
  count_node(1);
  return node;
}

void free_node(Node* node) {
  count_node(-1);
  deallocate(node);
}

void free_subtree(Node* node) {
  if (node->level > 0)
    for (unsigned i = 0; i < node->count; ++i) free_subtree(own_child_of(as_inner(node), i));
  free_node(node);
}

void append_run(Node* to, const Run& run) {
  if (to->level == 0) {
    Leaf& leaf = static_cast<Leaf&>(*to);
    copy(leaf.end + leaf.count, as_leaf(run.node).end + run.first, run.size());
    copy(leaf.slot + leaf.count, as_leaf(run.node).slot + run.first, run.size());
  } else {
    Inner& inner = static_cast<Inner&>(*to);
    const Inner& from = as_inner(run.node);
    copy(inner.last_end + inner.count, from.last_end + run.first, run.size());
    for (unsigned i = 0; i < run.size(); ++i)
      put_child(inner, inner.count + i, own_child_of(from, run.first + i));
    copy(inner.first_start + inner.count, from.first_start + run.first, run.size());
    copy(inner.max_gap + inner.count, from.max_gap + run.first, run.size());
  }
  to->count = std::uint16_t(to->count + run.size());
}

void copy_all(Node* to, const Node* from) {
  if (to->level == 0) {
    Leaf& leaf = static_cast<Leaf&>(*to);
    copy(leaf.end, as_leaf(from).end, leaf_slots);
    copy(leaf.slot, as_leaf(from).slot, leaf_slots);
  } else {
    Inner& inner = static_cast<Inner&>(*to);
    copy(inner.last_end, as_inner(from).last_end, inner_slots);
    for (unsigned i = 0; i < inner_slots; ++i) put_child(inner, i, own_child_of(as_inner(from), i));
    copy(inner.first_start, as_inner(from).first_start, inner_slots);
    copy(inner.max_gap, as_inner(from).max_gap, inner_slots);
  }
  to->count = from->count;
}

void set_entry(Leaf& leaf, unsigned i, const RangeTreeBase::Entry& entry) {
  leaf.end[i] = entry.end;
  leaf.slot[i] = {entry.start, entry.value};
}

void set_child(Inner& inner, unsigned i, Node* child) {
  const Summary summary = summarize(*child);
  inner.last_end[i] = summary.last_end;
  put_child(inner, i, child);
  inner.first_start[i] = summary.first_start;
  inner.max_gap[i] = summary.max_gap;
}

void pad(Node* node) {
  if (node->level == 0) {
    Leaf& leaf = static_cast<Leaf&>(*node);
    for (unsigned i = leaf.count; i < leaf_slots; ++i) {
      leaf.end[i] = pad_key;
      leaf.slot[i] = {pad_key, nullptr};
    }
    return;
  }
  Inner& inner = static_cast<Inner&>(*node);
  for (unsigned i = inner.count; i < inner_slots; ++i) {
    inner.last_end[i] = pad_key;
    put_child(inner, i, nullptr);
    inner.first_start[i] = pad_key;
    inner.max_gap[i] = 0;
  }
}

std::size_t RangeTreeBase::live_nodes() {
#ifdef SLAT_CHECKED
  return node_count.load(std::memory_order_relaxed);
#else
  return 0;
#endif
}

} // namespace slat::mmu::detail
