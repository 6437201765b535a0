// The lowest free room between the ranges of a red-black tree, by the extents that its nodes keep.
#pragma once

#include "mmu/assert.hpp"
#include "mmu/vma_lock/rb_tree.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace slat::mmu {

/// Goes through the gaps in ascending order, past every subtree in which none is long enough.
template <class A> class RbGapSearchOf {
  using Tree = RbTreeOf<A>;
  using Node = typename Tree::Node;
  using Found = std::optional<std::uintptr_t>;

 public:
  RbGapSearchOf(std::uintptr_t low, std::uintptr_t high, std::size_t length, std::size_t alignment)
      : low_(low), high_(high), length_(length), alignment_(alignment), free_from_(low) {
    SLAT_ASSERT(length > 0 && std::has_single_bit(alignment), "a gap of no length or alignment");
  }

  /// The lowest multiple of `alignment` (a power of two) at which `length` > 0 bytes are free inside
  /// [low, high). Once for each search. mm lock. Logarithmic, but that each gap that is long enough and
  /// has no room at a multiple of `alignment` costs as much again.
  [[nodiscard]] Found run(const Tree& tree) {
    if (const Found found = in(tree.root())) return found;
    return before(high_);
  }

 private:
  /// The gaps before and between the ranges of a subtree. As deep as the tree is high.
  Found in(const Node* node) {
    for (; node != nullptr && free_from_ < high_; node = Tree::child(node, 1)) {
      const RbExtent& all = node->extent;
      if (all.end <= low_) return {};
      if (all.max_gap < length_) {
        const Found found = before(all.start);
        free_from_ = all.end;
        return found;
      }
      if (const Found found = in(Tree::child(node, 0))) return found;
      if (const Found found = before(Tree::start_of(node))) return found;
      free_from_ = std::max(low_, Tree::end_of(node));
    }
    return {};
  }

  /// The gap between what has been passed and `start`.
  [[nodiscard]] Found before(std::uintptr_t start) const {
    const std::uintptr_t limit = std::min(start, high_);
    const std::uintptr_t at = (free_from_ + alignment_ - 1) & ~std::uintptr_t(alignment_ - 1);
    if (at < free_from_ || at >= limit || limit - at < length_)
      return {}; // or past the last address
    return at;
  }

  const std::uintptr_t low_;
  const std::uintptr_t high_;
  const std::size_t length_;
  const std::size_t alignment_;
  std::uintptr_t free_from_; // the end of the range before, or low
};

} // namespace slat::mmu
