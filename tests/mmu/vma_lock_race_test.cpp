// The locks inside a VMA on real threads, and the interleavings of which the invariants tell, forced.
#include "hooked_atomics.hpp"
#include "vma_locks.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::has_writer;
using testing::HookedAtomics;
using testing::never_free;
using testing::readers_of;

/// The same lock with atomics that a test can interrupt.
template <class Lock> struct Hooked;

template <template <class> class Lock, class A> struct Hooked<Lock<A>> {
  using type = Lock<HookedAtomics>;
};

template <class Lock> class VmaLockRace : public ::testing::Test {};

TYPED_TEST_SUITE(VmaLockRace, testing::VmaLocks, testing::VmaLockNames);

/// A VMA with plain fields, which only the lock under test orders: TSan sees a hole in it.
template <class Lock> struct Guarded {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  Lock lock;
};

constexpr int write_rounds = 3000;

/// A race needs two: waits until a reader has been inside once more.
void wait_for_progress(const std::atomic<std::uint64_t>& reads) {
  const std::uint64_t seen = reads.load();
  EXPECT_TRUE(eventually([&] { return reads.load() != seen; }));
}

TYPED_TEST(VmaLockRace, I02_I06_I08_readers_see_whole_changes_and_writers_are_woken) {
  MmShared mm;
  Guarded<TypeParam> vma;
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
  EXPECT_EQ(readers_of(vma.lock), 0u);
}

TYPED_TEST(VmaLockRace, I03_I07_recycled_object_is_wholly_of_one_life) {
  // Two mms pass one object to and fro, as a type-stable cache would; the object's fields name its
  // owner and its life.
  MmShared mms[2];
  Guarded<TypeParam> vma;
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
  EXPECT_EQ(readers_of(vma.lock), 0u);
  EXPECT_EQ(mms[0].pins.load(), 1u);
  EXPECT_EQ(mms[1].pins.load(), 1u);
}

TYPED_TEST(VmaLockRace, I02_sequence_is_looked_at_again_after_the_count) {
  // The writer comes and goes between the reader's first look and its increment: nothing is left of
  // it but the sequence.
  using Mm = MmSharedOf<HookedAtomics>;
  Mm mm;
  typename Hooked<TypeParam>::type vma;
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
  EXPECT_EQ(readers_of(vma), 0u);
  mm.end_write();
  EXPECT_EQ(vma.vma_start_read(mm, [](Mm*) {}), VmaReadLock::locked);
  vma.vma_end_read();
}

TYPED_TEST(VmaLockRace, I01_reader_that_loses_to_a_detach_is_not_let_in) {
  using Mm = MmSharedOf<HookedAtomics>;
  Mm mm;
  Mm other(100);
  typename Hooked<TypeParam>::type vma;
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
  EXPECT_EQ(readers_of(vma), 0u);

  attach_to(mm);
  HookedAtomics::before_cas = [&] { // and recycled
    detach_from(mm);
    attach_to(other);
  };
  EXPECT_EQ(vma.vma_start_read(mm, [](Mm*) {}), VmaReadLock::detached);
  EXPECT_EQ(readers_of(vma), 0u);
  EXPECT_EQ(vma.vma_start_read(other, [](Mm*) {}), VmaReadLock::locked);
  vma.vma_end_read();
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

TEST(VmaRefcountRace, I05_put_of_a_recycled_vma_touches_no_freed_mm) {
  // A reader of mm a holds a VMA that now belongs to mm b. Between its decrement and its look for a
  // waiter, b's writer, which waits for that decrement, sees it, finishes and gives up b.
  using Mm = MmSharedOf<HookedAtomics>;
  Mm a;
  auto* const b = new Mm;
  VmaRefcountOf<HookedAtomics> vma;
  b->begin_write();
  vma.set_mm(*b);
  vma.vma_start_write(*b);
  vma.vma_mark_attached(*b);
  b->end_write();

  bool freed_by_writer = false;
  int freed_by_reader = 0;
  std::thread writer;
  HookedAtomics::before_sub = [&] {
    writer = std::thread([&] {
      b->begin_write();
      vma.vma_start_write(*b);
      vma.vma_mark_detached(*b);
      b->end_write();
      freed_by_writer = b->drop();
    });
    EXPECT_TRUE(eventually([&] { return vma.vm_refcnt() == vma.vm_exclude + 2; }));
  };
  HookedAtomics::after_sub = [&] { writer.join(); };
  EXPECT_EQ(vma.vma_start_read(a,
                               [&](Mm* mm) {
                                 EXPECT_EQ(mm, b);
                                 ++freed_by_reader;
                               }),
            VmaReadLock::detached);
  EXPECT_FALSE(freed_by_writer) << "the reader has to hold a pin until its put is over";
  EXPECT_EQ(freed_by_reader, 1);
  EXPECT_TRUE(vma.is_detached());
  delete b;
}

} // namespace
} // namespace slat::mmu
