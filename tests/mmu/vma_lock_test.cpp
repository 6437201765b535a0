// The locks inside a VMA, reference count and semaphore: what both promise, one step at a time. vma_lock_race_test.cpp has
// the races, vma_refcount_test.cpp and vma_rwsem_test.cpp what each does in its own way.
#include "vma_locks.hpp"

namespace slat::mmu {
namespace {

using testing::Attached;
using testing::eventually;
using testing::has_writer;
using testing::never_free;
using testing::readers_of;
using testing::stays;

template <class Lock> class VmaLock : public ::testing::Test {};

template <class Lock> class VmaLockDeathTest : public ::testing::Test {};

TYPED_TEST_SUITE(VmaLock, testing::VmaLocks, testing::VmaLockNames);
TYPED_TEST_SUITE(VmaLockDeathTest, testing::VmaLocks, testing::VmaLockNames);

TYPED_TEST(VmaLock, is_born_detached) {
  MmShared mm;
  TypeParam vma;
  EXPECT_TRUE(vma.is_detached());
  EXPECT_EQ(vma.vma_start_read(mm, never_free), VmaReadLock::detached);
  EXPECT_EQ(readers_of(vma), 0u);
}

TYPED_TEST(VmaLock, readers_share_an_attached_vma) {
  Attached<TypeParam> a;
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  EXPECT_TRUE(a.vma.vma_start_read_locked());
  EXPECT_EQ(readers_of(a.vma), 3u);
  for (int i = 0; i < 3; ++i) a.vma.vma_end_read();
  EXPECT_EQ(readers_of(a.vma), 0u);
}

TYPED_TEST(VmaLock, I02_reader_is_kept_out_until_the_mm_is_unlocked) {
  Attached<TypeParam> a;
  a.mm.begin_write();
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked)
      << "a writer elsewhere in the mm keeps nobody out of this VMA";
  a.vma.vma_end_read();
  EXPECT_FALSE(a.vma.is_write_locked(a.mm));
  a.vma.vma_start_write(a.mm);
  EXPECT_TRUE(a.vma.is_write_locked(a.mm));
  a.vma.vma_start_write(a.mm); // idempotent
  EXPECT_EQ(readers_of(a.vma), 0u);
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::contended);
  EXPECT_EQ(readers_of(a.vma), 0u) << "a refused reader leaves no count";
  a.mm.end_write();
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  a.vma.vma_end_read();
}

TYPED_TEST(VmaLock, I02_writer_waits_for_the_readers_inside) {
  Attached<TypeParam> a;
  ASSERT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  ASSERT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  std::atomic<bool> inside{false};
  std::thread writer([&] {
    a.mm.begin_write();
    a.vma.vma_start_write(a.mm);
    inside = true;
    a.mm.end_write();
  });
  EXPECT_TRUE(eventually([&] { return has_writer(a.vma); }));
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::contended)
      << "a waiting writer lets nobody else in";
  a.vma.vma_end_read();
  EXPECT_TRUE(stays([&] { return !inside.load(); })) << "one reader is still inside";
  a.vma.vma_end_read();
  writer.join();
  EXPECT_TRUE(inside);
  EXPECT_EQ(readers_of(a.vma), 0u);
}

TYPED_TEST(VmaLock, I01_vma_of_another_mm_is_never_locked) {
  Attached<TypeParam> a;
  MmShared other;
  EXPECT_EQ(a.vma.vma_start_read(other, never_free), VmaReadLock::detached);
  EXPECT_EQ(readers_of(a.vma), 0u);
  EXPECT_EQ(a.mm.pins.load(), 1u);
}

TYPED_TEST(VmaLock, I01_detached_vma_is_never_locked) {
  Attached<TypeParam> a;
  a.mm.begin_write();
  a.vma.vma_start_write(a.mm);
  a.vma.vma_mark_detached(a.mm);
  a.mm.end_write();
  EXPECT_TRUE(a.vma.is_detached());
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::detached);
  EXPECT_EQ(readers_of(a.vma), 0u);
}

TYPED_TEST(VmaLock, I03_detaching_ends_only_when_no_reader_is_inside) {
  Attached<TypeParam> a;
  a.mm.begin_write();
  a.vma.vma_start_write(a.mm);
  // A transient reader: it has entered, and has yet to look at the sequence again.
  ASSERT_TRUE(a.vma.vma_start_read_locked());
  std::atomic<bool> detached{false};
  std::thread writer([&] {
    a.vma.vma_mark_detached(a.mm);
    EXPECT_TRUE(a.vma.is_detached()) << "not the count of a reader alone, but of the VMA";
    detached = true;
  });
  EXPECT_TRUE(eventually([&] { return has_writer(a.vma); }));
  EXPECT_TRUE(stays([&] { return !detached.load(); }));
  EXPECT_NE(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  a.vma.vma_end_read();
  writer.join();
  EXPECT_EQ(readers_of(a.vma), 0u);
  a.mm.end_write();
}

TYPED_TEST(VmaLock, I03_detached_object_is_reused_by_another_mm_at_once) {
  Attached<TypeParam> a;
  a.mm.begin_write();
  a.vma.vma_start_write(a.mm);
  a.vma.vma_mark_detached(a.mm);
  MmShared other(100);
  other.begin_write();
  a.vma.set_mm(other);
  a.vma.vma_start_write(other);
  a.vma.vma_mark_attached(other);
  other.end_write();
  a.mm.end_write();
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::detached);
  EXPECT_EQ(a.vma.vma_start_read(other, never_free), VmaReadLock::locked);
  a.vma.vma_end_read();
}

/// Sequences that are about to wrap, in 31, 32 and 64 bits.
constexpr std::uint64_t wraps[] = {std::uint64_t(1) << 31, std::uint64_t(1) << 32, 0};

TYPED_TEST(VmaLock, I09_sequence_crosses_its_wraps_without_a_false_unlocked_or_a_hang) {
  for (const std::uint64_t first : wraps) {
    SCOPED_TRACE(first);
    Attached<TypeParam> a(first - 6);
    for (int i = 0; i < 6; ++i) {
      ASSERT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked) << i;
      a.vma.vma_end_read();
      a.mm.begin_write();
      ASSERT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked) << i;
      a.vma.vma_end_read();
      a.vma.vma_start_write(a.mm);
      ASSERT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::contended) << i;
      a.mm.end_write();
    }
    EXPECT_EQ(readers_of(a.vma), 0u);
  }
}

TYPED_TEST(VmaLock, I09_vma_locked_2_to_the_32_sections_ago_is_not_locked_now) {
  for (const std::uint64_t first : wraps) {
    SCOPED_TRACE(first);
    Attached<TypeParam> a(first - 6);
    const std::uint64_t then = a.mm.mm_lock_seq.load() - 1; // what attaching left in vm_lock_seq
    for (const std::uint64_t distance : {std::uint64_t(1) << 31, std::uint64_t(1) << 32}) {
      a.mm.mm_lock_seq = then - 1 + distance;
      a.mm.begin_write();
      ASSERT_FALSE(a.vma.is_write_locked(a.mm)) << distance;
      a.mm.end_write();
    }
  }
}

TYPED_TEST(VmaLockDeathTest, rules_of_the_writer_are_asserted) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Attached<TypeParam> a;
  EXPECT_DEATH(a.vma.vma_start_write(a.mm), "without the mm write lock");
  EXPECT_DEATH(a.vma.vma_mark_detached(a.mm), "not write-locked");
  EXPECT_DEATH(a.mm.end_write(), "even inside a writer");
  TypeParam detached;
  EXPECT_DEATH((void)detached.vma_start_read_locked(), "attached while the mm lock is held");
}

} // namespace
} // namespace slat::mmu
