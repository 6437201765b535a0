// RangeTree: values by disjoint address ranges, for one writer at a time and any number of readers
// under RCU (the job of the kernel's maple tree).
//
// A B-tree, copied on write. A change copies the nodes from the leaf upwards into fresh ones, as far
// as what a parent knows of them changes: their ends and their longest gap. It is published with one
// store: of the pointer to the topmost copy, in a node that stays, or of the root. So a reader sees a
// commit as a whole or not at all (I11) and never has to start again. What commits replaced is freed
// after a grace period, many nodes by one callback. (Up to the root in every case, a replacement with
// 100,000 entries took three times as long, and none of its users needs the versions that gave.)
//
// States of a node: fresh (reachable from one Edit only, which alone changes or frees it) ->
// published (read-only but for its child pointers, each of which a commit may store) -> retired
// (unreachable from the root, and read-only; readers that came before may still be inside) -> freed
// (after the grace period). A dropped Edit frees its fresh nodes directly.
//
// Orderings: the release store in commit() and clear() pairs with the acquire load of the root and of
// every child pointer in readers; keys are plain. The order of "unreachable" before "freed" is RCU's.
#pragma once

#include "mmu/atomics.hpp"
#include "mmu/error.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace slat::mmu {

namespace detail {

/// RangeTree without the type of its values, so that it is compiled once.
class RangeTreeBase {
 public:
  struct Node;

  struct Entry {
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    void* value = nullptr;
  };

  /// A published or fresh subtree: a node and its level (leaves: 0) in one word, so that a lookup
  /// does not read the node's header.
  class Subtree {
   public:
    constexpr Subtree() = default;

    Subtree(Node* node, unsigned level) : bits_(std::bit_cast<std::uintptr_t>(node) | level) {}

    [[nodiscard]] Node* node() const { return std::bit_cast<Node*>(bits_ & ~level_mask); }

    [[nodiscard]] unsigned level() const { return unsigned(bits_ & level_mask); }

    friend bool operator==(const Subtree&, const Subtree&) = default;

   private:
    static constexpr std::uintptr_t level_mask = 63; // nodes are aligned to cache lines
    std::uintptr_t bits_ = 0;
  };

  static constexpr unsigned max_levels =
      16; // 4 billion leaves, were all filled as little as allowed

  /// A fresh subtree that takes the place of a published node's child and looks like it from above.
  struct Graft {
    Node* parent = nullptr;
    unsigned slot = 0;
    Node* child = nullptr;
  };

  /// Walks the entries, ascending. Commits meanwhile are seen as a whole or not at all, each by itself.
  class Cursor {
   public:
    /// At the first entry that ends after `address`.
    Cursor(Subtree root, std::uintptr_t address);

    [[nodiscard]] bool valid() const { return node_[0] != nullptr; }

    [[nodiscard]] Entry entry() const;
    void next();

   private:
    unsigned levels_ = 0;
    const Node* node_[max_levels];
    unsigned index_[max_levels];
  };

  class Edit {
   public:
    explicit Edit(RangeTreeBase& tree);
    Edit(Edit&& other) noexcept;
    Edit& operator=(Edit&&) = delete;
    ~Edit();

    /// `entries` points to `count` objects with the layout of Entry.
    Result<void> replace(std::uintptr_t start, std::uintptr_t end, const void* entries,
                         std::size_t count);
    void commit();

   private:
    friend class Replacement;

    [[nodiscard]] bool is_changed() const;
    [[nodiscard]] bool lift_graft();
    void retire(Node* node);

    RangeTreeBase* tree_;
    Subtree root_;     // fresh nodes on top of published ones
    Graft graft_;      // what a commit stores instead of root_, if it has a child
    std::size_t size_; // entries below root_
    Node* retired_;    // published nodes that root_ does without, by Node::chain, before ...
    std::size_t retired_count_; // ... those of the tree
    bool failed_ = false;
  };

  /// What the tree is made of, for tests and benchmarks.
  struct Shape {
    unsigned levels = 0;
    std::size_t inner_nodes = 0;
    std::size_t leaves = 0;
    std::size_t bytes = 0;
  };

  RangeTreeBase() = default;
  ~RangeTreeBase();
  RangeTreeBase(const RangeTreeBase&) = delete;
  RangeTreeBase& operator=(const RangeTreeBase&) = delete;

  [[nodiscard]] void* find(std::uintptr_t address) const;
  [[nodiscard]] Entry first_from(std::uintptr_t address) const;
  [[nodiscard]] Entry last_before(std::uintptr_t address) const;

  [[nodiscard]] Cursor seek(std::uintptr_t address) const { return {root(), address}; }

  [[nodiscard]] std::optional<std::uintptr_t> find_gap(std::uintptr_t low, std::uintptr_t high,
                                                       std::size_t length,
                                                       std::size_t alignment) const;

  [[nodiscard]] std::size_t size() const { return size_; }

  void clear();

  /// What is wrong with the structure (order, summaries, fill, levels, padding), or "".
  [[nodiscard]] std::string check() const;
  [[nodiscard]] Shape shape() const;

  /// Nodes allocated and not freed in this process; counted in checked builds only, else 0.
  static std::size_t live_nodes();

 private:
  friend class Replacement;

  [[nodiscard]] Subtree root() const {
    return root_.load(std::memory_order_acquire); // pairs with commit() and clear()
  }

  StdAtomics::atomic<Subtree> root_{Subtree()};
  std::size_t size_ = 0;
  Node* retired_ = nullptr; // what commits replaced and no callback has yet, by Node::chain
  std::size_t retired_count_ = 0;
  std::uint64_t edit_number_ = 0; // the last edit's; its fresh nodes bear it
  bool editing_ = false;
};

} // namespace detail

/// Locks: "mm lock" is the lock that edits are made under, shared or exclusive. No function sleeps
/// except where it says so, and none looks at what a value points to.
template <class T> class RangeTree {
 public:
  struct Entry {
    std::uintptr_t start; // [start, end), start < end
    std::uintptr_t end;
    T* value; // not nullptr, except for "no such entry"
  };

  RangeTree() = default;
  /// No reader is left, and no Edit.
  ~RangeTree() = default;
  RangeTree(const RangeTree&) = delete;
  RangeTree& operator=(const RangeTree&) = delete;

  /// The value whose range holds `address`, or nullptr. RCU section or mm lock; under RCU alone the
  /// entry may be gone by the time this returns.
  [[nodiscard]] T* find(std::uintptr_t address) const {
    return static_cast<T*>(base_.find(address));
  }

  /// The first entry with end > address; value nullptr if there is none. RCU section or mm lock.
  [[nodiscard]] Entry first_from(std::uintptr_t address) const {
    return typed(base_.first_from(address));
  }

  /// The last entry with start < address; value nullptr if there is none. RCU section or mm lock.
  [[nodiscard]] Entry last_before(std::uintptr_t address) const {
    return typed(base_.last_before(address));
  }

  /// f(const Entry&) for the entries that overlap [start, end), ascending. mm lock; no edit is
  /// committed meanwhile. (An RCU section around it does too: f then sees entries in order and
  /// disjoint, and of each commit all or nothing; of two commits maybe the later one only.)
  template <class F> void for_each(std::uintptr_t start, std::uintptr_t end, F f) const {
    if (start >= end) return;
    for (auto cursor = base_.seek(start); cursor.valid(); cursor.next()) {
      const Entry entry = typed(cursor.entry());
      if (entry.start >= end) return;
      f(entry);
    }
  }

  /// Entries. mm lock.
  [[nodiscard]] std::size_t size() const { return base_.size(); }

  /// The lowest multiple of `alignment` (a power of two) at which `length` > 0 bytes are free inside
  /// [low, high). mm lock. Logarithmic, unless many gaps are long enough but for the alignment.
  [[nodiscard]] std::optional<std::uintptr_t> find_gap(std::uintptr_t low, std::uintptr_t high,
                                                       std::size_t length,
                                                       std::size_t alignment) const {
    return base_.find_gap(low, high, length, alignment);
  }

  /// A change in the making. Nobody sees it before commit(); without one, nothing has happened and
  /// what was prepared is freed. One at a time; mm write lock from edit() to its end (I10).
  class Edit {
   public:
    /// Removes every entry that overlaps [start, end) and inserts `entries`: ascending, disjoint,
    /// and anywhere between the entries that stay on either side. start == end removes nothing. Any
    /// number of calls; later ones see earlier ones. Errc::no_memory: then the edit must be dropped.
    /// May sleep (allocates).
    Result<void> replace(std::uintptr_t start, std::uintptr_t end, std::span<const Entry> entries) {
      static_assert(sizeof(Entry) == sizeof(detail::RangeTreeBase::Entry));
      return edit_.replace(start, end, entries.data(), entries.size());
    }

    /// Publishes, once; cannot fail. Replaced nodes are freed after a grace period, in batches: up to
    /// 63 may wait for later commits, clear() or the destructor.
    void commit() { edit_.commit(); }

   private:
    friend class RangeTree;

    explicit Edit(detail::RangeTreeBase& tree) : edit_(tree) {}

    detail::RangeTreeBase::Edit edit_;
  };

  /// mm write lock until the edit is committed or dropped.
  [[nodiscard]] Edit edit() { return Edit(base_); }

  /// Empties the tree with one store; its nodes are freed after a grace period. mm write lock, no
  /// Edit alive.
  void clear() { base_.clear(); }

  /// For tests and benchmarks, under the mm lock.
  [[nodiscard]] const detail::RangeTreeBase& base() const { return base_; }

 private:
  static Entry typed(const detail::RangeTreeBase::Entry& entry) {
    return {entry.start, entry.end, static_cast<T*>(entry.value)};
  }

  detail::RangeTreeBase base_;
};

} // namespace slat::mmu
