// VmaRbTree<T>: the VMAs of an mm by address, for speculative faults: a red-black tree through the
// VMAs themselves, guarded by a seqlock (mm_seq). Design 2.
//
// A reader under SRCU:
//   seq = mm_seq().read_begin();  find();  take a reference;  mm_seq().read_retry(*seq): again
// Any answer that passes is that of one moment. One that does not is a guess, nullptr included; the
// object that it names is there until the SRCU section ends, dead perhaps.
// The tree keeps its own copy of the bounds, which change in commit() and nowhere else: the fields
// of T may be set before. T has a member `RbNode rb`; nothing else of it is looked at.
#pragma once

#include "mmu/alloc.hpp"
#include "mmu/error.hpp"
#include "mmu/vma_lock/rb_gap.hpp"
#include "mmu/vma_lock/rb_tree.hpp"
#include "mmu/vma_lock/spf.hpp"

#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <utility>

namespace slat::mmu {

template <class T> class VmaRbTree {
  using Tree = RbTreeOf<StdAtomics>;

 public:
  struct Entry {
    std::uintptr_t start; // [start, end), start < end
    std::uintptr_t end;
    T* value; // not nullptr, except for "no such entry"
  };

  VmaRbTree() = default;
  /// No reader is left, and no Edit. What is still linked is left as it is: it may be gone already.
  ~VmaRbTree() = default;
  VmaRbTree(const VmaRbTree&) = delete;
  VmaRbTree& operator=(const VmaRbTree&) = delete;

  /// The value whose range holds `address`, or nullptr. SRCU section (see above) or mm lock. Does
  /// not sleep.
  [[nodiscard]] T* find(std::uintptr_t address) const {
    RbNode* const node = tree_.find(address);
    return node != nullptr ? value_of(node) : nullptr;
  }

  /// The first entry with end > address; value nullptr if there is none. mm lock.
  [[nodiscard]] Entry first_from(std::uintptr_t address) const {
    return entry_of(tree_.first_from(address));
  }

  /// The last entry with start < address; value nullptr if there is none. mm lock.
  [[nodiscard]] Entry last_before(std::uintptr_t address) const {
    return entry_of(tree_.last_before(address));
  }

  /// f(const Entry&) for the entries that overlap [start, end), ascending. mm lock; no edit is
  /// committed meanwhile.
  template <class F> void for_each(std::uintptr_t start, std::uintptr_t end, F f) const {
    for (RbNode* node = tree_.first_from(start); node != nullptr && Tree::start_of(node) < end;
         node = Tree::next(node)) {
      const Entry entry = entry_of(node);
      f(entry);
    }
  }

  /// Entries. mm lock.
  [[nodiscard]] std::size_t size() const { return size_; }

  /// The lowest multiple of `alignment` (a power of two) at which `length` > 0 bytes are free inside
  /// [low, high). mm lock. Logarithmic in the number of entries, but for gaps that are long enough and
  /// have no room at such a multiple: each of those is looked at.
  [[nodiscard]] std::optional<std::uintptr_t> find_gap(std::uintptr_t low, std::uintptr_t high,
                                                       std::size_t length,
                                                       std::size_t alignment) const {
    return RbGapSearchOf<StdAtomics>(low, high, length, alignment).run(tree_);
  }

  /// A change in the making. Nobody sees it before commit(); without one nothing has happened. One
  /// at a time; mm write lock from edit() to its end (I10).
  class Edit {
   public:
    Edit(Edit&& other) noexcept
        : tree_(other.tree_), first_(std::exchange(other.first_, nullptr)),
          last_(std::exchange(other.last_, nullptr)) {}

    Edit& operator=(Edit&&) = delete;

    ~Edit() {
      while (first_ != nullptr) deallocate(std::exchange(first_, first_->next));
    }

    /// Removes every entry that overlaps [start, end) and inserts `entries`: ascending, disjoint, and
    /// anywhere between the entries that stay on either side. start == end removes nothing. Any
    /// number of calls; later ones see earlier ones. A value that is removed and inserted stays
    /// linked where it can; one that is linked elsewhere moves. Errc::no_memory: then the edit must be
    /// dropped. May sleep (allocates).
    Result<void> replace(std::uintptr_t start, std::uintptr_t end, std::span<const Entry> entries) {
      void* const memory = allocate(sizeof(Step) + entries.size_bytes(), alignof(Step));
      if (memory == nullptr) return fail(Errc::no_memory, ENOMEM, "no memory to change the tree");
      Step* const step = new (memory) Step{nullptr, start, end, entries.size()};
      std::uninitialized_copy(entries.begin(), entries.end(), step->entries());
      (last_ != nullptr ? last_->next : first_) = step;
      last_ = step;
      return {};
    }

    /// Makes it so, inside one write section of mm_seq. Cannot fail, once; does not sleep. Removed
    /// values have their node cleared, and are the caller's to keep until a grace period is over.
    void commit() {
      tree_->seq_.write_begin();
      for (Step* step = first_; step != nullptr; step = step->next)
        tree_->apply(step->start, step->end, {step->entries(), step->count});
      tree_->seq_.write_end();
    }

   private:
    friend class VmaRbTree;

    struct Step {
      Step* next;
      std::uintptr_t start, end;
      std::size_t count;

      Entry* entries() { return std::launder(reinterpret_cast<Entry*>(this + 1)); }
    };

    static_assert(alignof(Entry) <= alignof(Step));

    explicit Edit(VmaRbTree& tree) : tree_(&tree) {}

    VmaRbTree* tree_;
    Step* first_ = nullptr;
    Step* last_ = nullptr;
  };

  /// mm write lock until the edit is committed or dropped.
  [[nodiscard]] Edit edit() { return Edit(*this); }

  /// Empties the tree; every value's node is cleared. mm write lock, no Edit alive. Linear.
  void clear() {
    seq_.write_begin();
    tree_.clear();
    size_ = 0;
    seq_.write_end();
  }

  /// Odd while the tree changes. Readers may retry on it at any time.
  [[nodiscard]] MmSeq& mm_seq() { return seq_; }

  [[nodiscard]] const MmSeq& mm_seq() const { return seq_; }

  /// For tests: the nodes.
  [[nodiscard]] const Tree& nodes() const { return tree_; }

 private:
  static T* value_of(RbNode* node) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof" // no virtual bases: both compilers define it
    return reinterpret_cast<T*>(reinterpret_cast<std::byte*>(node) - offsetof(T, rb));
#pragma GCC diagnostic pop
  }

  static Entry entry_of(RbNode* node) {
    if (node == nullptr) return {0, 0, nullptr};
    return {Tree::start_of(node), Tree::end_of(node), value_of(node)};
  }

  /// One step of a commit. Who is removed and inserted again, and keeps its place in the order, stays
  /// linked: a fault that looks for it meanwhile finds it.
  void apply(std::uintptr_t start, std::uintptr_t end, std::span<const Entry> entries) {
    for (std::size_t i = 0; i < entries.size(); ++i)
      entries[i].value->rb.place = std::uint32_t(i) + 1;
    std::uint32_t last_kept = 0;
    RbNode* node = start < end ? tree_.first_from(start) : nullptr;
    while (node != nullptr && Tree::start_of(node) < end) {
      RbNode* const after = Tree::next(node);
      if (node->place > last_kept)
        last_kept = std::exchange(node->place, 0);
      else
        erase(node);
      node = after;
    }
    // What is linked and still has its place number comes from elsewhere.
    for (const Entry& entry : entries)
      if (std::exchange(entry.value->rb.place, 0) != 0 && entry.value->rb.is_linked())
        erase(&entry.value->rb);
    for (const Entry& entry : entries) Tree::set_bounds(&entry.value->rb, entry.start, entry.end);
    for (const Entry& entry : entries) {
      if (entry.value->rb.is_linked()) continue;
      tree_.insert(&entry.value->rb);
      ++size_;
    }
  }

  void erase(RbNode* node) {
    tree_.erase(node);
    --size_;
  }

  Tree tree_;
  MmSeq seq_;
  std::size_t size_ = 0;
};

} // namespace slat::mmu
