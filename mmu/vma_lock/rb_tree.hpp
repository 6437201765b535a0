// A red-black tree of disjoint ranges, linked through its values, that can be walked without a lock
// while it changes (the kernel's rbtree has this property too; algorithm: Guibas and Sedgewick, in
// the form of Cormen et al.).
//
// A walk during a change may miss what is there, for rotations take several stores; a sequence
// around the changes (MmSeq) tells the walker so. What it can rely on is that it ends:
//   - No store of a child pointer closes a loop, in the order in which the program stores them. Each
//     function that moves a subtree first takes it off its old place and then hangs it in.
//   - Child pointers are stored with release and loaded with acquire, so a walk never reads a pointer
//     older than one that it has followed knows of. To pass a node twice it takes a change in between,
//     and each change moves it once at most.
//   - A bound on the steps, for a writer who never pauses.
// A node that is erased is cleared: a walk that stands on it ends there. Its memory stays while
// walkers may have it (SRCU).
//
// For searches of free room every node knows the extent of its subtree: where the first range starts,
// where the last one ends, and the greatest of the gaps between neighbours, which is
//     start of the next - end of the one before, modulo 2^64.
// This follows from the node's bounds and its children's extents alone. So what changes bounds or
// children of a node makes the extents of that node and its ancestors wrong, and no other: of two
// neighbours one is always the other's ancestor, and has the gap between them in its extent. Who changes
// what, and mends it:
//   set_bounds  the node: upwards from it
//   insert      the parent of the new leaf: upwards from there, before colours are mended
//   erase       the lowest node that loses a child, and the heir in its new place: upwards from the
//               former, before colours are mended. All on the way to the heir began with the heir's
//               range, and the heir has lower ones below it now: nowhere there does it end
//   rotate      the two nodes whose children change; the subtree as a whole has the ranges that it had
// Upwards ends at the first node whose extent is right already. While several bounds change, one after
// the other, ranges may overlap and gaps wrap round; the extents follow from those bounds all the same,
// and so they are right once the bounds are.
//
// Who may change what: everything, the holder of the mm write lock. Walkers read the child pointers
// and the bounds, and nothing else: the other fields are plain, guarded by the mm lock.
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace slat::mmu {

enum class RbColor : std::uint8_t { none, red, black }; // none: not linked

/// What the ranges of a subtree take up, the gaps between them included.
struct RbExtent {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;     // exclusive
  std::uintptr_t max_gap = 0; // between neighbours; 0 if there are none

  bool operator==(const RbExtent&) const = default;
};

/// Constructor state equals erased state but for the bounds. The bounds are the tree's own copy: they
/// change with the tree, under its sequence, while the value's own fields may change before.
template <class A> struct RbNodeOf {
  typename A::template atomic<RbNodeOf*> child[2]{nullptr, nullptr}; // lower, higher addresses
  typename A::template atomic<std::uintptr_t> start{0};
  typename A::template atomic<std::uintptr_t> end{0}; // exclusive
  RbNodeOf* parent = nullptr;                         // mm lock
  std::uint32_t place = 0;                            // scratch of VmaRbTree's commits
  RbColor color = RbColor::none;                      // mm lock
  RbExtent extent;                                    // mm lock; of the subtree below, once linked

  /// mm lock.
  [[nodiscard]] bool is_linked() const { return color != RbColor::none; }
};

template <class A> class RbTreeOf {
 public:
  using Node = RbNodeOf<A>;
  using Link = typename A::template atomic<Node*>;

  /// No tree that fits into memory is higher.
  static constexpr unsigned max_steps = 128;

  RbTreeOf() = default;
  RbTreeOf(const RbTreeOf&) = delete;
  RbTreeOf& operator=(const RbTreeOf&) = delete;

  /// The node whose range holds `address`, or nullptr. Under the mm lock exact; under SRCU alone a
  /// guess either way. Does not sleep.
  [[nodiscard]] Node* find(std::uintptr_t address) const {
    Node* node = root_.load(std::memory_order_acquire); // pairs with every store of a link
    for (unsigned steps = 0; node != nullptr && steps < max_steps; ++steps) {
      // Relaxed: the tree's sequence tells whether they belong together.
      if (address < node->start.load(std::memory_order_relaxed))
        node = node->child[0].load(std::memory_order_acquire); // pairs with every store of a link
      else if (address >= node->end.load(std::memory_order_relaxed))
        node = node->child[1].load(std::memory_order_acquire); // pairs with every store of a link
      else
        return node;
    }
    return nullptr;
  }

  // ---- mm lock, which orders all of these: their loads are relaxed.

  /// The first node that ends after `address`, or nullptr.
  [[nodiscard]] Node* first_from(std::uintptr_t address) const {
    Node* best = nullptr;
    for (Node* node = root(); node != nullptr;) {
      const bool fits = end_of(node) > address;
      if (fits) best = node;
      node = child(node, fits ? 0 : 1);
    }
    return best;
  }

  /// The last node that starts before `address`, or nullptr.
  [[nodiscard]] Node* last_before(std::uintptr_t address) const {
    Node* best = nullptr;
    for (Node* node = root(); node != nullptr;) {
      const bool fits = start_of(node) < address;
      if (fits) best = node;
      node = child(node, fits ? 1 : 0);
    }
    return best;
  }

  /// The next higher node, or nullptr.
  [[nodiscard]] static Node* next(Node* node) {
    if (Node* below = child(node, 1)) {
      while (Node* lower = child(below, 0)) below = lower;
      return below;
    }
    Node* parent = node->parent;
    while (parent != nullptr && child(parent, 1) == node) {
      node = parent;
      parent = node->parent;
    }
    return parent;
  }

  [[nodiscard]] Node* root() const { return root_.load(std::memory_order_relaxed); }

  [[nodiscard]] static Node* child(const Node* node, unsigned side) {
    return node->child[side].load(std::memory_order_relaxed);
  }

  [[nodiscard]] static std::uintptr_t start_of(const Node* node) {
    return node->start.load(std::memory_order_relaxed);
  }

  [[nodiscard]] static std::uintptr_t end_of(const Node* node) {
    return node->end.load(std::memory_order_relaxed);
  }

  // ---- mm write lock, inside the sequence's write section. Nothing sleeps or fails.

  /// The order among the nodes stays as it is once the caller has set all that he means to set.
  static void set_bounds(Node* node, std::uintptr_t start, std::uintptr_t end) {
    node->start.store(start, std::memory_order_relaxed); // guarded by the sequence
    node->end.store(end, std::memory_order_relaxed);     // guarded by the sequence
    if (node->is_linked()) mend_extents(node);
  }

  /// `node` is not linked; nothing in the tree overlaps its bounds.
  void insert(Node* node) {
    SLAT_ASSERT(!node->is_linked() && start_of(node) < end_of(node), "insert of a linked node");
    Node* parent = nullptr;
    Link* link = &root_;
    while (Node* at = link->load(std::memory_order_relaxed)) {
      SLAT_ASSERT(end_of(node) <= start_of(at) || end_of(at) <= start_of(node), "VMAs overlap");
      parent = at;
      link = &at->child[start_of(at) < start_of(node) ? 1 : 0];
    }
    node->parent = parent;
    node->color = RbColor::red;
    node->extent = {start_of(node), end_of(node), 0};
    set(*link, node); // publishes its bounds and its empty links
    mend_extents(parent);
    mend_insert(node);
  }

  /// `node` is in this tree. It is cleared.
  void erase(Node* node) {
    SLAT_ASSERT(node->is_linked(), "erase of a node that is not linked");
    Link& above = link_to(node);
    Node* const lower = child(node, 0);
    Node* const higher = child(node, 1);
    RbColor removed = node->color;
    Node* thin; // the subtree on `side` of it has lost a level
    unsigned side;
    if (lower == nullptr || higher == nullptr) {
      Node* const only = lower != nullptr ? lower : higher;
      thin = node->parent;
      side = thin != nullptr ? side_of(node) : 0;
      set(above, only);
      if (only != nullptr) only->parent = thin;
    } else {
      // The next node takes its place: off its own first.
      Node* heir = higher;
      while (Node* below = child(heir, 0)) heir = below;
      removed = heir->color;
      thin = heir;
      side = 1;
      if (heir != higher) {
        Node* const orphan = child(heir, 1);
        thin = heir->parent;
        side = 0;
        set(thin->child[0], orphan);
        if (orphan != nullptr) orphan->parent = thin;
        set(heir->child[1], higher);
        higher->parent = heir;
      }
      set(heir->child[0], lower);
      lower->parent = heir;
      set(above, heir);
      heir->parent = node->parent;
      heir->color = node->color;
    }
    mend_extents(thin); // on to the heir and past it: each of these starts elsewhere now
    if (removed == RbColor::black) mend_erase(thin, side);
    clear(node);
  }

  /// Clears every node.
  void clear() {
    Node* node = root();
    set(root_, nullptr);
    while (node != nullptr) {
      const unsigned side = child(node, 0) != nullptr ? 0 : 1;
      Node* const below = child(node, side);
      Node* const parent = node->parent;
      if (below != nullptr)
        set(node->child[side], nullptr);
      else
        clear(node);
      node = below != nullptr ? below : parent;
    }
  }

 private:
  /// Release: pairs with the acquire of every step of a walk.
  static void set(Link& link, Node* to) { link.store(to, std::memory_order_release); }

  static void clear(Node* node) {
    set(node->child[0], nullptr);
    set(node->child[1], nullptr);
    node->parent = nullptr;
    node->color = RbColor::none;
  }

  [[nodiscard]] static bool red(const Node* node) {
    return node != nullptr && node->color == RbColor::red;
  }

  [[nodiscard]] static unsigned side_of(const Node* node) {
    return child(node->parent, 1) == node ? 1 : 0;
  }

  [[nodiscard]] Link& link_to(const Node* node) {
    return node->parent == nullptr ? root_ : node->parent->child[side_of(node)];
  }

  /// What the extent of `node` is, if its children's are right.
  [[nodiscard]] static RbExtent extent_of(const Node* node) {
    RbExtent all{start_of(node), end_of(node), 0};
    if (const Node* const lower = child(node, 0)) {
      all.max_gap = std::max(lower->extent.max_gap, all.start - lower->extent.end);
      all.start = lower->extent.start;
    }
    if (const Node* const higher = child(node, 1)) {
      all.max_gap = std::max({all.max_gap, higher->extent.max_gap, higher->extent.start - all.end});
      all.end = higher->extent.end;
    }
    return all;
  }

  /// Bounds or children of `node` (nullptr: of none) have changed. Few ancestors are written: most
  /// have a greater gap elsewhere, and more below than the first and the last range.
  static void mend_extents(Node* node) {
    for (; node != nullptr; node = node->parent) {
      const RbExtent extent = extent_of(node);
      if (extent == node->extent) return;
      node->extent = extent;
    }
  }

  /// `node` moves down to `side`, and its child on the other side takes its place.
  void rotate(Node* node, unsigned side) {
    Link& above = link_to(node);
    Node* const riser = child(node, 1 - side);
    Node* const between = child(riser, side);
    set(node->child[1 - side], between); // the riser hangs nowhere for a moment: missed, no loop
    if (between != nullptr) between->parent = node;
    set(riser->child[side], node);
    set(above, riser);
    riser->parent = node->parent;
    node->parent = riser;
    riser->extent = node->extent;
    node->extent = extent_of(node);
  }

  /// `node` is red, and so may its parent be.
  void mend_insert(Node* node) {
    while (red(node->parent)) {
      Node* parent = node->parent;
      Node* const grand = parent->parent; // there is one: the root is black
      const unsigned side = side_of(parent);
      Node* const uncle = child(grand, 1 - side);
      if (red(uncle)) {
        parent->color = uncle->color = RbColor::black;
        grand->color = RbColor::red;
        node = grand;
        continue;
      }
      if (side_of(node) != side) {
        rotate(parent, side);
        parent = node;
      }
      parent->color = RbColor::black;
      grand->color = RbColor::red;
      rotate(grand, 1 - side);
      break;
    }
    root()->color = RbColor::black;
  }

  /// The subtree on `side` of `parent`, or the whole tree, is one black node short.
  void mend_erase(Node* parent, unsigned side) {
    for (;;) {
      Node* const thin = parent != nullptr ? child(parent, side) : root();
      if (red(thin)) {
        thin->color = RbColor::black;
        return;
      }
      if (parent == nullptr) return;
      Node* sibling = child(parent, 1 - side); // there is one: it has a black node at least
      if (red(sibling)) {
        sibling->color = RbColor::black;
        parent->color = RbColor::red;
        rotate(parent, side);
        sibling = child(parent, 1 - side);
      }
      Node* const near = child(sibling, side);
      Node* far = child(sibling, 1 - side);
      if (!red(near) && !red(far)) {
        sibling->color = RbColor::red;
        side = parent->parent != nullptr ? side_of(parent) : 0;
        parent = parent->parent;
        continue;
      }
      if (!red(far)) {
        near->color = RbColor::black;
        sibling->color = RbColor::red;
        rotate(sibling, 1 - side);
        far = sibling;
        sibling = near;
      }
      sibling->color = parent->color;
      parent->color = RbColor::black;
      far->color = RbColor::black;
      rotate(parent, side);
      return;
    }
  }

  Link root_{nullptr};
};

using RbNode = RbNodeOf<StdAtomics>;

} // namespace slat::mmu
