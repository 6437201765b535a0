// The vma-refcount lock: what a reader that is let in may rely on, and what a writer may.
#include "mmu/vma_lock/vma_refcount.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

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
struct ModelVma {
  mmu::VmaRefcountOf<RelacyAtomics> lock;
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

  void detach(ModelMm& mm) {
    lock.vma_start_write(*mm.shared);
    lock.vma_mark_detached(*mm.shared);
    MODEL_CHECK(lock.is_detached());
  }
};

[[maybe_unused]] void no_mm_dies_here(Mm*) {
  MODEL_FAIL("the last pin of an mm that is still in use was dropped");
}

/// One writer changes an attached VMA twice; readers come in by RCU or, failing that, by way of the
/// mm read lock.
template <int Readers, std::uint64_t FirstSeq>
struct WriterExcludesReaders : Model<WriterExcludesReaders<Readers, FirstSeq>, Readers + 1> {
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

  void after() { MODEL_CHECK(vma.lock.vm_refcnt() == 1); }

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
  ModelVma vma;
};

/// The VMA is detached and its object used again for another range of the same mm: in the same
/// write section, and across sections, so that readers meet it detached.
template <int Readers, std::uint64_t FirstSeq>
struct DetachAndReuse : Model<DetachAndReuse<Readers, FirstSeq>, Readers + 1> {
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

  void after() { MODEL_CHECK(vma.lock.vm_refcnt() == 1 && vma.get() == 3); }

  void read() {
    for (int i = 0; i < 2; ++i) {
      if (vma.lock.vma_start_read(*mm.shared, no_mm_dies_here) != VmaReadLock::locked) continue;
      const int value = vma.get();
      MODEL_CHECK(value >= 1 && value <= 3);
      vma.lock.vma_end_read();
    }
  }

  ModelMm mm{FirstSeq};
  ModelVma vma;
};

/// The object is recycled from mm A into mm B while readers of A still hold a pointer to it; B then
/// gives the VMA up and dies. Whoever drops B's last pin destroys it: later accesses are reported.
template <int Readers, std::uint64_t SeqA, std::uint64_t SeqB>
struct RecycledIntoAnotherMm : Model<RecycledIntoAnotherMm<Readers, SeqA, SeqB>, Readers + 1> {
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
      vma.attach(b, in_b);
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
  ModelVma vma;
};

constexpr std::uint64_t below_2_31 = (std::uint64_t(1) << 31) - 4;
constexpr std::uint64_t below_2_32 = (std::uint64_t(1) << 32) - 4;
constexpr std::uint64_t below_2_64 = ~std::uint64_t(0) - 5; // 2^64 - 6: reaches and passes 2^64 - 2

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("writer_excludes_readers", WriterExcludesReaders<2, 0>),
    MODEL_SMALL_SCENARIO("writer_excludes_one_reader", WriterExcludesReaders<1, 0>),
    MODEL_SCENARIO("sequence_passes_2_31", WriterExcludesReaders<2, below_2_31>),
    MODEL_SCENARIO("sequence_passes_2_32", WriterExcludesReaders<2, below_2_32>),
    MODEL_SCENARIO("sequence_wraps", WriterExcludesReaders<2, below_2_64>),
    MODEL_SCENARIO("detach_and_reuse", DetachAndReuse<2, below_2_64>),
    MODEL_SMALL_SCENARIO("detach_and_reuse_one_reader", DetachAndReuse<1, 0>),
    MODEL_SCENARIO("recycled_into_another_mm", RecycledIntoAnotherMm<2, 0, 100>),
    MODEL_SCENARIO("recycled_at_equal_sequences", RecycledIntoAnotherMm<2, 10, 10>),
    MODEL_SMALL_SCENARIO("recycled_one_reader", RecycledIntoAnotherMm<1, 0, 100>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
