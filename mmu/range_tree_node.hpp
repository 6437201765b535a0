// The nodes of RangeTree. Private to mmu/range_tree*.cpp.
//
// Keys come before payload, so that a lookup touches two cache lines of keys and one of payload in a
// node. Slots beyond `count` are padded with keys that no search stops at and with null payload: a
// search needs no count, and one that ends in the padding finds nothing.
#pragma once

#include "mmu/alloc.hpp"
#include "mmu/assert.hpp"
#include "mmu/range_tree.hpp"
#include "mmu/reclaimer.hpp"

#include <algorithm>

namespace slat::mmu::detail {

inline constexpr unsigned leaf_slots = 16;
inline constexpr unsigned inner_slots = 16;
/// No entry starts there, for it would have to end beyond.
inline constexpr std::uintptr_t pad_key = UINTPTR_MAX;

/// Slots of a node at `level`, and how many of them every node but the root uses at least. A quarter
/// and not a half: a node just split or merged is then far from the next split or merge.
constexpr unsigned slots(unsigned level) {
  return level == 0 ? leaf_slots : inner_slots;
}

constexpr unsigned min_fill(unsigned level) {
  return slots(level) / 4;
}

static_assert(min_fill(0) >= 2 && min_fill(1) >= 2);

struct alignas(64) RangeTreeBase::Node {
  DeferredCall deferred;   // used in the first node of a chain of retired ones
  Node* chain = nullptr;   // the next fresh node of a Replacement, or the next retired one
  std::uint64_t edit = 0;  // number of the edit that made it
  std::uint16_t count = 0; // slots in use
  std::uint16_t level = 0; // 0: Leaf, else Inner
};

struct Leaf : RangeTreeBase::Node {
  struct Slot {
    std::uintptr_t start;
    void* value;
  };

  alignas(64) std::uintptr_t end[leaf_slots];
  Slot slot[leaf_slots];
};

struct Inner : RangeTreeBase::Node {
  alignas(64) std::uintptr_t last_end[inner_slots];            // of the child's last entry
  StdAtomics::atomic<RangeTreeBase::Node*> child[inner_slots]; // see child_of()
  std::uintptr_t first_start[inner_slots];                     // of the child's first entry
  std::uintptr_t max_gap[inner_slots]; // the longest between two entries below the child, bytes
};

/// What a node's parent keeps of it. Summaries of neighbours combine: the gap between them is
/// first_start of the right one minus last_end of the left one.
struct Summary {
  std::uintptr_t first_start;
  std::uintptr_t last_end;
  std::uintptr_t max_gap;

  friend bool operator==(const Summary&, const Summary&) = default;
};

inline const Leaf& as_leaf(const RangeTreeBase::Node* node) {
  return *static_cast<const Leaf*>(node);
}

inline const Inner& as_inner(const RangeTreeBase::Node* node) {
  return *static_cast<const Inner*>(node);
}

/// For readers: pairs with the store of a child in commit() (I11).
inline RangeTreeBase::Node* child_of(const Inner& inner, unsigned i) {
  return inner.child[i].load(std::memory_order_acquire);
}

/// For the writer: the mm lock orders him behind every store. And for fresh nodes.
inline RangeTreeBase::Node* own_child_of(const Inner& inner, unsigned i) {
  return inner.child[i].load(std::memory_order_relaxed);
}

/// In a fresh node, which a later store publishes.
inline void put_child(Inner& inner, unsigned i, RangeTreeBase::Node* child) {
  inner.child[i].store(child, std::memory_order_relaxed);
}

/// How many keys are at most `address`, the last key not counted: it decides nothing, and the result
/// is then always a slot. First by fours, then inside the four: 6 independent comparisons for 16 keys
/// and no branch, which random lookups would mispredict. (Measured: linear takes 1.4 times as long in
/// a stream of lookups; binary search, whose steps wait for each other, 4 times; AVX2 1.3 times.)
template <unsigned n>
inline unsigned slot_for(const std::uintptr_t (&keys)[n], std::uintptr_t address) {
  static_assert(n == 16);
  const unsigned four =
      unsigned(keys[3] <= address) + unsigned(keys[7] <= address) + unsigned(keys[11] <= address);
  const std::uintptr_t* const first = keys + std::size_t{4} * four;
  return 4 * four + unsigned(first[0] <= address) + unsigned(first[1] <= address) +
         unsigned(first[2] <= address);
}

/// How many entries, or subtrees, start before `address`.
inline unsigned starts_below(const Leaf& leaf, std::uintptr_t address) {
  unsigned result = 0;
  for (const Leaf::Slot& slot : leaf.slot) result += unsigned(slot.start < address);
  return result;
}

inline unsigned starts_below(const Inner& inner, std::uintptr_t address) {
  unsigned result = 0;
  for (const std::uintptr_t start : inner.first_start) result += unsigned(start < address);
  return result;
}

/// Writers copy every line of the nodes on their way.
inline void prefetch(const RangeTreeBase::Node* node, unsigned level) {
  for (std::size_t at = 0; at < (level == 0 ? sizeof(Leaf) : sizeof(Inner)); at += 64)
    __builtin_prefetch(reinterpret_cast<const char*>(node) + at);
}

/// Items [first, last) of a node.
struct Run {
  RangeTreeBase::Node* node = nullptr;
  unsigned first = 0;
  unsigned last = 0;

  [[nodiscard]] unsigned size() const { return last - first; }
};

Summary summarize(const RangeTreeBase::Node& node);

inline Summary summary_in(const Inner& parent, unsigned i) {
  return {parent.first_start[i], parent.last_end[i], parent.max_gap[i]};
}

/// An empty node, or nullptr without memory.
RangeTreeBase::Node* create_node(unsigned level, std::uint64_t edit);
void free_node(RangeTreeBase::Node* node);

/// Frees a whole subtree, which nobody else reads any more.
void free_subtree(RangeTreeBase::Node* node);

/// Below, `to` is fresh, and nobody but its edit sees it.
void append_run(RangeTreeBase::Node* to, const Run& run);

/// All slots at once, padding included: fixed sizes make it much cheaper than append_run().
void copy_all(RangeTreeBase::Node* to, const RangeTreeBase::Node* from);

void set_entry(Leaf& leaf, unsigned i, const RangeTreeBase::Entry& entry);

/// With the child's summary.
void set_child(Inner& inner, unsigned i, RangeTreeBase::Node* child);

/// Fills the slots that are not in use.
void pad(RangeTreeBase::Node* node);

} // namespace slat::mmu::detail
