// Whether a red-black tree is one: order, parents, colours, and the extents that searches of free room
// go by.
#pragma once

#include "mmu/vma_lock/rb_tree.hpp"

#include <algorithm>
#include <cstddef>
#include <gtest/gtest.h>
#include <vector>

namespace slat::mmu::testing {

template <class A> class RbTreeCheck {
  using Nodes = RbTreeOf<A>;
  using Node = typename Nodes::Node;

 public:
  /// Tells of every rule that is broken.
  static void expect_sound(const RbTreeOf<A>& tree) {
    RbTreeCheck check;
    check.black_height(tree.root(), nullptr);
    const std::vector<const Node*>& all = check.in_order_;
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_LT(Nodes::start_of(all[i]), Nodes::end_of(all[i]));
      if (i > 0) {
        EXPECT_LE(Nodes::end_of(all[i - 1]), Nodes::start_of(all[i])) << "out of order";
      }
    }
  }

 private:
  /// Black nodes from here to any leaf.
  unsigned black_height(const Node* node, const Node* parent) {
    if (node == nullptr) return 0;
    EXPECT_EQ(node->parent, parent);
    EXPECT_NE(node->color, RbColor::none);
    EXPECT_TRUE(node->color == RbColor::black || (parent && parent->color == RbColor::black));
    const std::size_t first = in_order_.size();
    const unsigned below = black_height(Nodes::child(node, 0), node);
    in_order_.push_back(node);
    EXPECT_EQ(below, black_height(Nodes::child(node, 1), node)) << "black heights differ";
    expect_extent(node, first);
    return below + (node->color == RbColor::black ? 1 : 0);
  }

  /// The subtree is what has been met since `first`.
  void expect_extent(const Node* node, std::size_t first) const {
    RbExtent extent{Nodes::start_of(in_order_[first]), Nodes::end_of(in_order_.back()), 0};
    for (std::size_t i = first + 1; i < in_order_.size(); ++i)
      extent.max_gap =
          std::max(extent.max_gap, Nodes::start_of(in_order_[i]) - Nodes::end_of(in_order_[i - 1]));
    EXPECT_EQ(node->extent.start, extent.start);
    EXPECT_EQ(node->extent.end, extent.end);
    EXPECT_EQ(node->extent.max_gap, extent.max_gap);
  }

  std::vector<const Node*> in_order_;
};

template <class A> void expect_sound(const RbTreeOf<A>& tree) {
  RbTreeCheck<A>::expect_sound(tree);
}

} // namespace slat::mmu::testing
