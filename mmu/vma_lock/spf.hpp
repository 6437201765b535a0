// spf: what a speculative page fault needs of a VMA and of the tree: sequences, a reference count
// and a sign of life, but no lock. After the kernel's speculative page fault series (Peter Zijlstra,
// Laurent Dufour; never merged). Design 2.
//
// A fault, inside an SRCU section:
//   mm_seq read_begin; walk; get_not_zero(); mm_seq read_retry
//   read_begin(); copy the fields; claim the page word (or lock it); commit()
//     -- true: nobody changes or frees the VMA's part of the page before the word is given up
//     -- false: give the word up as it was, put(), and go by way of the mm lock
// A writer, with the mm write lock:
//   write_begin(); look for claimed pages in the range and wait for them; change the fields, or
//   mark_dead() and zap; write_end(). A dead VMA leaves the tree, and the tree's own reference is put
//   after a grace period.
//
// Who may change what
//   vm_sequence  the holder of the mm write lock: odd while it is inside, bumped on both sides (I17).
//                It goes on counting in the object's next life, so no old snapshot ever fits again (I09)
//   vm_flags     the same: the VMA's flags and vm_live; 0 when dead, and before mark_live()
//   vm_refs      0 nobody's; 1 the tree's; 1+n with n faults. mark_live() 0 -> 1; get_not_zero() never
//                from 0; whoever puts the last frees the object (I15)
//   fields       the writer, between write_begin() and write_end()
//
// Orderings
//   write_begin, fence   with the fence in commit(): "claim the page word, fence, look at the sequence"
//                        against "make the sequence odd, fence, look for claimed words": one of them sees
//                        the other (I14). With fence_acquire() in read_retry(), or the fence in commit():
//                        who has read a field of this section sees the odd sequence
//   write_end, release   pairs with the acquire in read_begin(): a snapshot brings all that was written
//                        up to it, the pages that the writer emptied and mark_dead() included
//   put, acq_rel         the last user's accesses happen before the free (I15)
//   mark_live, release   pairs with the acquire in get_not_zero(): the holder of a reference sees the
//                        object of this life. (So does the link by which it was found.)
#pragma once

#include "mmu/assert.hpp"
#include "mmu/atomics.hpp"

#include <cstdint>
#include <optional>
#include <type_traits>

namespace slat::mmu {

/// A field that is read while it may change: relaxed, the order comes from the sequence that guards
/// it. Reads and assigns like a T. What a pointer in it points to may be looked at once the sequence
/// has been looked at again.
template <class A, class T> class RelaxedFieldOf {
 public:
  RelaxedFieldOf() : value_(T{}) {}

  RelaxedFieldOf(T value) : value_(value) {} // implicit, as a T is

  RelaxedFieldOf(const RelaxedFieldOf& other) : value_(other.load()) {}

  RelaxedFieldOf& operator=(const RelaxedFieldOf& other) {
    store(other.load());
    return *this;
  }

  RelaxedFieldOf& operator=(T value) {
    store(value);
    return *this;
  }

  operator T() const { return load(); }

  T operator->() const
    requires std::is_pointer_v<T>
  {
    return load();
  }

  [[nodiscard]] T load() const { return value_.load(std::memory_order_relaxed); } // see above

  void store(T value) { value_.store(value, std::memory_order_relaxed); } // see above

 private:
  typename A::template atomic<T> value_;
};

template <class T> using RelaxedField = RelaxedFieldOf<StdAtomics, T>;

/// A seqlock's sequence. Writers are serialised by a lock of their own; readers never wait.
template <class A> class SeqCountOf {
 public:
  explicit SeqCountOf(std::uint64_t first = 0) : sequence_(first) {}

  /// A snapshot for read_retry(), or nothing while a writer is inside. Does not sleep.
  [[nodiscard]] std::optional<std::uint64_t> read_begin() const {
    const std::uint64_t seq = sequence_.load(std::memory_order_acquire); // pairs with write_end()
    if ((seq & 1) != 0) return {};
    return seq;
  }

  /// True if what was read since `seq` was taken is worth nothing. Does not sleep.
  [[nodiscard]] bool read_retry(std::uint64_t seq) const {
    A::fence_acquire(); // what was read, then the sequence; pairs with the fence in write_begin()
    return sequence_.load(std::memory_order_relaxed) != seq; // ordered by the fence
  }

  /// The same after something of the reader's own, a claim, that the writer looks for once it is
  /// inside: either this returns true, or the writer finds the claim.
  [[nodiscard]] bool read_retry_claimed(std::uint64_t seq) const {
    A::fence(); // "claim, then look at the sequence"; pairs with the fence in write_begin()
    return sequence_.load(std::memory_order_relaxed) != seq; // ordered by the fence
  }

  /// The caller holds the writers' lock. Does not sleep.
  void write_begin() {
    const std::uint64_t seq = sequence_.load(std::memory_order_relaxed); // written by writers only
    SLAT_ASSERT((seq & 1) == 0, "a writer is inside already");
    sequence_.store(seq + 1, std::memory_order_relaxed); // ordered by the fence
    A::fence(); // "odd, then look for claims, and write"; pairs with both kinds of read_retry
  }

  void write_end() {
    const std::uint64_t seq = sequence_.load(std::memory_order_relaxed); // this thread wrote it
    SLAT_ASSERT((seq & 1) == 1, "no writer is inside");
    sequence_.store(seq + 1, std::memory_order_release); // pairs with read_begin()
  }

  /// For writers and tests: between write_begin() and write_end().
  [[nodiscard]] bool has_writer() const {
    return (sequence_.load(std::memory_order_relaxed) & 1) != 0; // a writer asks about itself
  }

 private:
  typename A::template atomic<std::uint64_t> sequence_;
};

/// The seqlock over the tree: odd while the tree is being changed. Writers hold the mm write lock.
template <class A> using MmSeqOf = SeqCountOf<A>;

template <class A> class SpfVmaOf {
 public:
  static constexpr std::uint32_t vm_live = 1u << 31; // in the flags word; a VMA may allow nothing
  static constexpr std::uint32_t vm_ref_limit = 1u << 30;

  SpfVmaOf() = default;

  /// For tests of wrapping counters.
  explicit SpfVmaOf(std::uint64_t first_sequence) : vm_sequence_(first_sequence) {}

  // ---- faults. Inside an SRCU section, or with a reference; nothing sleeps.

  /// Takes a reference unless the last one has been put (I15), or there are too many. Inside the
  /// SRCU section in which the VMA was found.
  [[nodiscard]] bool get_not_zero() {
    std::uint32_t refs = vm_refs_.load(std::memory_order_relaxed); // the CAS decides
    do {
      if (refs == 0 || refs >= vm_ref_limit) return false;
    } while (!vm_refs_.compare_exchange_weak(refs, refs + 1, std::memory_order_acquire,
                                             std::memory_order_relaxed)); // pairs with mark_live()
    return true;
  }

  /// Puts a reference. True if it was the last: the caller frees the object.
  [[nodiscard]] bool put() {
    const std::uint32_t before = vm_refs_.fetch_sub(1, std::memory_order_acq_rel); // see above
    SLAT_ASSERT(before != 0, "put of a VMA to which nobody has a reference");
    return before == 1;
  }

  /// A snapshot of the VMA, or nothing while a writer is inside. Before any field is read.
  [[nodiscard]] std::optional<std::uint64_t> read_begin() const {
    return vm_sequence_.read_begin();
  }

  /// True if the fields copied since `seq` was taken are not of one moment.
  [[nodiscard]] bool read_retry(std::uint64_t seq) const { return vm_sequence_.read_retry(seq); }

  /// The decision, once the page word has been claimed or locked: true if the VMA lives and no writer
  /// has been inside since `seq` was taken, and then none that looks for claims passes this one (I14).
  [[nodiscard]] bool commit(std::uint64_t seq) const {
    if (vm_sequence_.read_retry_claimed(seq)) return false;
    // For a snapshot that was taken after the VMA's death; read_begin() has acquired that.
    return vm_flags_.load(std::memory_order_relaxed) != 0;
  }

  /// What the VMA allows, without vm_live; nothing if it is dead. A field like others.
  [[nodiscard]] std::uint32_t vm_flags() const {
    return vm_flags_.load(std::memory_order_relaxed) & ~vm_live; // as a RelaxedField
  }

  [[nodiscard]] bool is_dead() const {
    return vm_flags_.load(std::memory_order_relaxed) == 0; // as a RelaxedField
  }

  // ---- the writer, with the mm write lock.

  /// For an object that nobody can find: its fields are set, and it goes into the tree next. The one
  /// reference is the tree's.
  void mark_live(std::uint32_t flags) {
    SLAT_ASSERT(vm_refs() == 0 && is_dead(), "a VMA that is in use is given another life");
    vm_flags_.store(flags | vm_live, std::memory_order_relaxed); // published by the next line
    vm_refs_.store(1, std::memory_order_release);                // pairs with get_not_zero()
  }

  /// From here on no fault commits. Before the VMA's fields change, or its range is zapped; the
  /// writer then waits for the pages of the range that are claimed or locked.
  void write_begin() { vm_sequence_.write_begin(); }

  void write_end() { vm_sequence_.write_end(); }

  [[nodiscard]] bool has_writer() const { return vm_sequence_.has_writer(); }

  /// Between write_begin() and write_end().
  void set_vm_flags(std::uint32_t flags) {
    SLAT_ASSERT(has_writer() && !is_dead(), "flags change outside a write section");
    vm_flags_.store(flags | vm_live, std::memory_order_relaxed); // guarded by the sequence
  }

  /// Between write_begin() and write_end(), for good. Its references and its memory stay.
  void mark_dead() {
    SLAT_ASSERT(has_writer(), "a VMA dies outside a write section (I17)");
    vm_flags_.store(0, std::memory_order_relaxed); // guarded by the sequence
  }

  /// For reports and tests.
  [[nodiscard]] std::uint32_t vm_refs() const { return vm_refs_.load(std::memory_order_acquire); }

 private:
  // Constructor state equals freed state but for vm_sequence, which goes on (I04).
  typename A::template atomic<std::uint32_t> vm_refs_{0};
  typename A::template atomic<std::uint32_t> vm_flags_{0};
  SeqCountOf<A> vm_sequence_;
};

using MmSeq = MmSeqOf<StdAtomics>;
using SpfVma = SpfVmaOf<StdAtomics>;

} // namespace slat::mmu
