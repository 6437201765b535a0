// The semaphore form of the per-VMA lock on real threads, and the interleavings of which the invariants tell, forced.
#include "mmu/vma_lock/vma_rwsem.hpp"

#include "hooked_atomics.hpp"
#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::HookedAtomics;

void never_free(MmShared*) {
  ADD_FAILURE() << "the mm was freed by a reader";
}

/// A VMA with plain fields, which only the lock under test orders: TSan sees a hole in it.
struct Guarded {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  VmaRwsem lock;
};

constexpr int write_rounds = 3000;

/// A race needs two: waits until a reader has been inside once more.
void wait_for_progress(const std::atomic<std::uint64_t>& reads) {
  const std::uint64_t seen = reads.load();
  EXPECT_TRUE(eventually([&] { return reads.load() != seen; }));
}

TEST(VmaRwsemRace, I02_I06_I08_readers_see_whole_changes_and_writers_are_woken) {
  MmShared mm;
  Guarded vma;
  mm.begin_write();
  vma.lock.set_mm(mm);
  vma.lock.vma_start_write(mm);
  vma.lock.vma_mark_attached(mm);
  mm.end_write();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t)
    readers.emplace_back([&] {
      std::uint64_t last = 0;
      while (!stop) {
        if (vma.lock.vma_start_read(mm, never_free) != VmaReadLock::locked) {
          std::this_thread::yield();
          continue;
        }
        EXPECT_EQ(vma.start, vma.end) << "a reader was inside with the writer";
        EXPECT_GE(vma.start, last) << "a reader went back in time";
        last = vma.start;
        vma.lock.vma_end_read();
        ++reads;
      }
    });
  for (int round = 0; round < write_rounds; ++round) {
    if (round % 8 == 0) wait_for_progress(reads);
    mm.begin_write();
    vma.lock.vma_start_write(mm); // a lost wake-up hangs here
    ++vma.start;
    ++vma.end;
    mm.end_write();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(vma.lock.readers(), 0u);
}

TEST(VmaRwsemRace, I03_I07_recycled_object_is_wholly_of_one_life) {
  // Two mms pass one object to and fro, as a type-stable cache would; the object's fields name its
  // owner and its life.
  MmShared mms[2];
  Guarded vma;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads[2] = {0, 0};
  std::vector<std::thread> readers;
  for (std::uint64_t self = 0; self < 2; ++self)
    readers.emplace_back([&, self] {
      while (!stop) {
        if (vma.lock.vma_start_read(mms[self], never_free) != VmaReadLock::locked) {
          std::this_thread::yield();
          continue;
        }
        EXPECT_EQ(vma.start % 2, self) << "locked in another mm (I01)";
        EXPECT_EQ(vma.start, vma.end) << "fields of two lives (I03, I07)";
        vma.lock.vma_end_read();
        ++reads[self];
      }
    });
  for (std::uint64_t life = 0; life < write_rounds; ++life) {
    MmShared& mm = mms[life % 2];
    mm.begin_write();
    vma.start = life;
    vma.end = life;
    vma.lock.set_mm(mm);
    vma.lock.vma_start_write(mm);
    vma.lock.vma_mark_attached(mm);
    mm.end_write();
    if (life % 8 < 2) wait_for_progress(reads[life % 2]);
    mm.begin_write();
    vma.lock.vma_start_write(mm);
    vma.lock.vma_mark_detached(mm);
    ASSERT_TRUE(vma.lock.is_detached());
    mm.end_write();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(vma.lock.readers(), 0u);
  EXPECT_EQ(mms[0].pins.load(), 1u);
  EXPECT_EQ(mms[1].pins.load(), 1u);
}

TEST(VmaRwsemRace, I05_put_of_a_recycled_vma_touches_no_freed_mm) {
  // A reader of mm a is inside a VMA that now belongs to mm b. Between its decrement and its
  // wake-up, b's writer, which waits for that decrement, sees it, finishes and frees b.
  using Mm = MmSharedOf<HookedAtomics>;
  Mm a;
  auto* const b = new Mm;
  VmaRwsemOf<HookedAtomics> vma;
  b->begin_write();
  vma.set_mm(*b);
  vma.vma_start_write(*b);
  vma.vma_mark_attached(*b);
  b->end_write();

  std::thread writer;
  HookedAtomics::before_sub = [&] {
    writer = std::thread([&] {
      b->begin_write();
      vma.vma_start_write(*b);
      vma.vma_mark_detached(*b);
      b->end_write();
      EXPECT_TRUE(b->drop()) << "nobody else needs it";
      delete b;
    });
    EXPECT_TRUE(eventually([&] { return vma.has_writer(); }));
  };
  HookedAtomics::after_sub = [&] { writer.join(); };
  EXPECT_EQ(vma.vma_start_read(a, [](Mm*) { ADD_FAILURE() << "not the reader's to free"; }),
            VmaReadLock::detached);
  EXPECT_TRUE(vma.is_detached());
}

TEST(VmaRwsemRace, I02_sequence_is_looked_at_again_after_the_count) {
  // The writer comes and goes between the reader's first look and its increment: nothing is left of
  // it but the sequence.
  using Mm = MmSharedOf<HookedAtomics>;
  Mm mm;
  VmaRwsemOf<HookedAtomics> vma;
  mm.begin_write();
  vma.set_mm(mm);
  vma.vma_start_write(mm);
  vma.vma_mark_attached(mm);
  mm.end_write();
  HookedAtomics::before_cas = [&] {
    mm.begin_write();
    vma.vma_start_write(mm);
  };
  EXPECT_EQ(vma.vma_start_read(mm, [](Mm*) {}), VmaReadLock::contended);
  EXPECT_EQ(vma.readers(), 0u);
  mm.end_write();
  EXPECT_EQ(vma.vma_start_read(mm, [](Mm*) {}), VmaReadLock::locked);
  vma.vma_end_read();
}

TEST(VmaRwsemRace, I01_reader_that_loses_to_a_detach_is_not_let_in) {
  using Mm = MmSharedOf<HookedAtomics>;
  Mm mm;
  Mm other(100);
  VmaRwsemOf<HookedAtomics> vma;
  const auto attach_to = [&](Mm& owner) {
    owner.begin_write();
    vma.set_mm(owner);
    vma.vma_start_write(owner);
    vma.vma_mark_attached(owner);
    owner.end_write();
  };
  const auto detach_from = [&](Mm& owner) {
    owner.begin_write();
    vma.vma_start_write(owner);
    vma.vma_mark_detached(owner);
    owner.end_write();
  };
  attach_to(mm);
  HookedAtomics::before_cas = [&] { detach_from(mm); };
  EXPECT_EQ(vma.vma_start_read(mm, [](Mm*) {}), VmaReadLock::detached);
  EXPECT_EQ(vma.readers(), 0u);

  attach_to(mm);
  HookedAtomics::before_cas = [&] { // and recycled
    detach_from(mm);
    attach_to(other);
  };
  EXPECT_EQ(vma.vma_start_read(mm, [](Mm*) {}), VmaReadLock::detached);
  EXPECT_EQ(vma.readers(), 0u);
  EXPECT_EQ(vma.vma_start_read(other, [](Mm*) {}), VmaReadLock::locked);
  vma.vma_end_read();
}

} // namespace
} // namespace slat::mmu
