// The models that vma_refcount.hpp and vma_rwsem.hpp have in common: what a reader that is let in
// may rely on, and what a writer may. Lock is the class template of either; idle(lock) says that
// nobody is inside any more.
#pragma once

#include "mmu/vma_lock/mm_shared.hpp"

#include "model/harness.hpp"

namespace slat::model {

using Mm = mmu::MmSharedOf<RelacyAtomics>;
using mmu::VmaReadLock;

struct ModelMm {
  explicit ModelMm(std::uint64_t first_seq) : shared(first_seq) {}

  Placed<Mm> shared;
  ModelSharedMutex lock;
  RelacyAtomics::var<int> note; // the mm's own data, written by its writers and by whoever frees it
};

/// As MmWriteGuard.
class WriteSection {
 public:
  explicit WriteSection(ModelMm& mm) : mm_(mm) {
    mm_.lock.lock();
    mm_.shared->begin_write();
    mm_.note.set(1);
  }

  ~WriteSection() {
    mm_.shared->end_write();
    mm_.lock.unlock();
  }

  WriteSection(const WriteSection&) = delete;
  WriteSection& operator=(const WriteSection&) = delete;

 private:
  ModelMm& mm_;
};

/// Type-stable: it outlives every reader, so the models need no RCU. `start` and `end` are always
/// written together: a reader that sees them differ is inside a change.
template <template <class> class Lock> struct ModelVma {
  Lock<RelacyAtomics> lock;
  RelacyAtomics::var<int> start;
  RelacyAtomics::var<int> end;

  void set(int value) {
    start.set(value);
    end.set(value);
  }

  int get() {
    const int value = start.get();
    MODEL_CHECK(value == end.get());
    return value;
  }

  /// As AddressSpace::new_vma() and attach().
  void attach(ModelMm& mm, int value) {
    set(value);
    lock.set_mm(*mm.shared);
    lock.vma_start_write(*mm.shared);
    lock.vma_mark_attached(*mm.shared);
  }

  /// The other order that the interface allows.
  void lock_and_attach(ModelMm& mm, int value) {
    lock.vma_start_write(*mm.shared);
    set(value);
    lock.set_mm(*mm.shared);
    lock.vma_mark_attached(*mm.shared);
  }

  void detach(ModelMm& mm) {
    lock.vma_start_write(*mm.shared);
    lock.vma_mark_detached(*mm.shared);
    MODEL_CHECK(lock.is_detached());
  }
};

[[maybe_unused]] inline void no_mm_dies_here(Mm*) {
  MODEL_FAIL("the last pin of an mm that is still in use was dropped");
}

/// One writer changes an attached VMA twice; readers come in by RCU or, failing that, by way of the
/// mm read lock.
template <template <class> class Lock, int Readers, std::uint64_t FirstSeq>
struct WriterExcludesReaders : Model<WriterExcludesReaders<Lock, Readers, FirstSeq>, Readers + 1> {
  void setup() {
    const WriteSection section(mm);
    vma.attach(mm, 0);
  }

  void thread(unsigned index) {
    if (index != 0) return read();
    for (int change = 1; change <= 2; ++change) {
      const WriteSection section(mm);
      vma.lock.vma_start_write(*mm.shared);
      vma.lock.vma_start_write(*mm.shared); // idempotent
      vma.set(change);
    }
  }

  void after() { MODEL_CHECK(idle(vma.lock)); }

  void read() {
    int least = 0;
    for (int i = 0; i < 2; ++i) {
      const VmaReadLock outcome = vma.lock.vma_start_read(*mm.shared, no_mm_dies_here);
      MODEL_CHECK(outcome != VmaReadLock::detached);
      if (outcome != VmaReadLock::locked) {
        mm.lock.lock_shared();
        MODEL_CHECK(vma.lock.vma_start_read_locked());
        mm.lock.unlock_shared();
      }
      const int value = vma.get();
      MODEL_CHECK(value >= least);
      least = value;
      vma.lock.vma_end_read();
    }
  }

  ModelMm mm{FirstSeq};
  ModelVma<Lock> vma;
};

/// One writer changes the VMA; another thread then write-locks the mm for something else. A reader
/// may learn of the first from the sequence that the second has written.
template <template <class> class Lock>
struct AnotherWriterFollows : Model<AnotherWriterFollows<Lock>, 3> {
  void setup() {
    const WriteSection section(mm);
    vma.attach(mm, 0);
  }

  void thread(unsigned index) {
    if (index == 2) return read();
    const WriteSection section(mm);
    if (index == 1) return;
    vma.lock.vma_start_write(*mm.shared);
    vma.set(1);
  }

  void after() { MODEL_CHECK(idle(vma.lock)); }

  void read() {
    for (int i = 0; i < 2; ++i) {
      if (vma.lock.vma_start_read(*mm.shared, no_mm_dies_here) != VmaReadLock::locked) continue;
      (void)vma.get();
      vma.lock.vma_end_read();
    }
  }

  ModelMm mm{0};
  ModelVma<Lock> vma;
};

/// The VMA is detached and its object used again for another range of the same mm: in the same
/// write section, and across sections, so that readers meet it detached.
template <template <class> class Lock, int Readers, std::uint64_t FirstSeq>
struct DetachAndReuse : Model<DetachAndReuse<Lock, Readers, FirstSeq>, Readers + 1> {
  void setup() {
    const WriteSection section(mm);
    vma.attach(mm, 1);
  }

  void thread(unsigned index) {
    if (index != 0) return read();
    {
      const WriteSection section(mm);
      vma.detach(mm);
      vma.attach(mm, 2);
    }
    {
      const WriteSection section(mm);
      vma.detach(mm);
    }
    const WriteSection section(mm);
    vma.attach(mm, 3);
  }

  void after() { MODEL_CHECK(idle(vma.lock) && vma.get() == 3); }

  void read() {
    for (int i = 0; i < 2; ++i) {
      if (vma.lock.vma_start_read(*mm.shared, no_mm_dies_here) != VmaReadLock::locked) continue;
      const int value = vma.get();
      MODEL_CHECK(value >= 1 && value <= 3);
      vma.lock.vma_end_read();
    }
  }

  ModelMm mm{FirstSeq};
  ModelVma<Lock> vma;
};

/// The object is recycled from mm A into mm B while readers of A still hold a pointer to it; B then
/// gives the VMA up and dies. Whoever drops B's last pin destroys it: later accesses are reported.
template <template <class> class Lock, int Readers, std::uint64_t SeqA, std::uint64_t SeqB>
struct RecycledIntoAnotherMm
    : Model<RecycledIntoAnotherMm<Lock, Readers, SeqA, SeqB>, Readers + 1> {
  static constexpr int in_a = 1;
  static constexpr int in_b = 2;

  void setup() {
    const WriteSection section(a);
    vma.attach(a, in_a);
  }

  void thread(unsigned index) {
    if (index != 0) return read();
    {
      const WriteSection section(a);
      vma.detach(a);
    }
    {
      const WriteSection section(b);
      vma.lock_and_attach(b, in_b);
    }
    {
      const WriteSection section(b);
      vma.detach(b);
    }
    if (b.shared->drop()) free_mm(&*b.shared);
  }

  void after() { MODEL_CHECK(vma.lock.is_detached() && !b.shared.alive()); }

  void read() {
    for (int i = 0; i < 2; ++i) {
      const auto outcome = vma.lock.vma_start_read(*a.shared, [this](Mm* mm) { free_mm(mm); });
      if (outcome != VmaReadLock::locked) continue;
      MODEL_CHECK(vma.get() == in_a);
      vma.lock.vma_end_read();
    }
  }

  void free_mm(Mm* mm) {
    MODEL_CHECK(mm == &*b.shared && b.shared.alive());
    b.shared.destroy();
    b.note.set(2);
  }

  ModelMm a{SeqA};
  ModelMm b{SeqB};
  ModelVma<Lock> vma;
};

/// The object goes from A to B and back, and B's last sequence is the very one of A's section that
/// attaches it again and then changes it once more: a leftover that looks like a write lock.
template <template <class> class Lock> struct RecycledAndBack : Model<RecycledAndBack<Lock>, 2> {
  void setup() {
    const WriteSection section(a); // 1
    vma.attach(a, 1);
  }

  void thread(unsigned index) {
    if (index != 0) return read();
    {
      const WriteSection section(a); // 3
      vma.detach(a);
    }
    {
      const WriteSection section(b); // 5
      vma.attach(b, 0);
      vma.detach(b);
    }
    const WriteSection section(a); // 5
    vma.attach(a, 2);
    vma.set(3);
  }

  void after() { MODEL_CHECK(idle(vma.lock) && vma.get() == 3); }

  void read() {
    for (int i = 0; i < 2; ++i) {
      if (vma.lock.vma_start_read(*a.shared, no_mm_dies_here) != VmaReadLock::locked) continue;
      const int value = vma.get();
      MODEL_CHECK(value == 1 || value == 3);
      vma.lock.vma_end_read();
    }
  }

  ModelMm a{0};
  ModelMm b{4};
  ModelVma<Lock> vma;
};

inline constexpr std::uint64_t below_2_31 = (std::uint64_t(1) << 31) - 4;
inline constexpr std::uint64_t below_2_32 = (std::uint64_t(1) << 32) - 4;
inline constexpr std::uint64_t below_2_64 =
    ~std::uint64_t(0) - 5; // 2^64 - 6: reaches and passes 2^64 - 2

} // namespace slat::model
