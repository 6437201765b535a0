// The semaphore form of the per-VMA lock, one step at a time. vma_rwsem_race_test.cpp has the races.
#include "mmu/vma_lock/vma_rwsem.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::raw;
using testing::stays;

void never_free(MmShared*) {
  ADD_FAILURE() << "the mm was freed by a reader";
}

struct Attached {
  explicit Attached(std::uint64_t first_seq = 0) : mm(first_seq) {
    mm.begin_write();
    vma.set_mm(mm);
    vma.vma_start_write(mm);
    vma.vma_mark_attached(mm);
    mm.end_write();
  }

  MmShared mm;
  VmaRwsem vma;
};

TEST(VmaRwsem, is_born_detached) {
  MmShared mm;
  VmaRwsem vma;
  EXPECT_TRUE(vma.is_detached());
  EXPECT_EQ(vma.vma_start_read(mm, never_free), VmaReadLock::detached);
  EXPECT_EQ(vma.readers(), 0u);
}

TEST(VmaRwsem, readers_share_an_attached_vma) {
  Attached a;
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  EXPECT_TRUE(a.vma.vma_start_read_locked());
  EXPECT_EQ(a.vma.readers(), 3u);
  for (int i = 0; i < 3; ++i) a.vma.vma_end_read();
  EXPECT_EQ(a.vma.readers(), 0u);
}

TEST(VmaRwsem, I02_reader_is_kept_out_until_the_mm_is_unlocked) {
  Attached a;
  a.mm.begin_write();
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked)
      << "a writer elsewhere in the mm keeps nobody out of this VMA";
  a.vma.vma_end_read();
  EXPECT_FALSE(a.vma.is_write_locked(a.mm));
  a.vma.vma_start_write(a.mm);
  EXPECT_TRUE(a.vma.is_write_locked(a.mm));
  a.vma.vma_start_write(a.mm); // idempotent
  EXPECT_EQ(a.vma.readers(), 0u);
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::contended);
  EXPECT_EQ(a.vma.readers(), 0u) << "a refused reader leaves no count";
  a.mm.end_write();
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  a.vma.vma_end_read();
}

TEST(VmaRwsem, I02_writer_waits_for_the_readers_inside) {
  Attached a;
  ASSERT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  ASSERT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  std::atomic<bool> inside{false};
  std::thread writer([&] {
    a.mm.begin_write();
    a.vma.vma_start_write(a.mm);
    inside = true;
    a.mm.end_write();
  });
  EXPECT_TRUE(eventually([&] { return a.vma.has_writer(); }));
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::contended)
      << "a waiting writer lets nobody else in";
  a.vma.vma_end_read();
  EXPECT_TRUE(stays([&] { return !inside.load(); })) << "one reader is still inside";
  a.vma.vma_end_read();
  writer.join();
  EXPECT_TRUE(inside);
  EXPECT_EQ(a.vma.readers(), 0u);
}

TEST(VmaRwsem, I01_vma_of_another_mm_is_never_locked) {
  Attached a;
  MmShared other;
  EXPECT_EQ(a.vma.vma_start_read(other, never_free), VmaReadLock::detached);
  EXPECT_EQ(a.vma.readers(), 0u);
  EXPECT_EQ(a.mm.pins.load(), 1u);
}

TEST(VmaRwsem, I01_detached_vma_is_never_locked) {
  Attached a;
  a.mm.begin_write();
  a.vma.vma_start_write(a.mm);
  a.vma.vma_mark_detached(a.mm);
  a.mm.end_write();
  EXPECT_TRUE(a.vma.is_detached());
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::detached);
  EXPECT_EQ(a.vma.readers(), 0u);
}

TEST(VmaRwsem, I03_detaching_ends_only_when_no_reader_is_inside) {
  Attached a;
  a.mm.begin_write();
  a.vma.vma_start_write(a.mm);
  // A transient reader: it has entered, and has yet to look at the sequence again.
  ASSERT_TRUE(a.vma.vma_start_read_locked());
  std::atomic<bool> detached{false};
  std::thread writer([&] {
    a.vma.vma_mark_detached(a.mm);
    detached = true;
  });
  EXPECT_TRUE(eventually([&] { return a.vma.has_writer(); }));
  EXPECT_TRUE(stays([&] { return !detached.load(); }));
  EXPECT_NE(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  a.vma.vma_end_read();
  writer.join();
  EXPECT_EQ(a.vma.readers(), 0u);
  a.mm.end_write();
}

TEST(VmaRwsem, I03_detached_object_is_reused_by_another_mm_at_once) {
  Attached a;
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

TEST(VmaRwsem, reader_limit_is_a_refusal_and_no_overflow) {
  Attached a;
  auto& word = raw<std::uint32_t>(a.vma);
  word = VmaRwsem::vm_reader_limit - 1;
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::contended);
  EXPECT_FALSE(a.vma.vma_start_read_locked());
  EXPECT_EQ(a.vma.readers(), VmaRwsem::vm_reader_limit);
  EXPECT_FALSE(a.vma.has_writer());
  word = 0;
}

TEST(VmaRwsem, I02_sequence_left_by_another_mm_is_no_write_lock) {
  // Its writer believes that nobody is inside: a reader on its way out of the last life may be.
  Attached a;
  a.mm.begin_write();
  a.vma.vma_start_write(a.mm);
  a.vma.vma_mark_detached(a.mm);
  MmShared other(a.mm.mm_lock_seq.load() - 1);
  other.begin_write();
  ASSERT_EQ(other.mm_lock_seq.load(), a.mm.mm_lock_seq.load());
  raw<std::uint32_t>(a.vma) += 1; // the late reader
  std::atomic<bool> inside{false};
  std::thread writer([&] {
    a.vma.set_mm(other);
    a.vma.vma_start_write(other);
    inside = true;
  });
  EXPECT_TRUE(eventually([&] { return a.vma.has_writer(); }));
  EXPECT_TRUE(stays([&] { return !inside.load(); }));
  a.vma.vma_end_read();
  writer.join();
  a.vma.vma_mark_attached(other);
  a.vma.vma_start_write(other); // attached: now it does count
  other.end_write();
  a.mm.end_write();
}

TEST(VmaRwsem, I04_allocation_and_reuse_leave_a_late_reader_its_count) {
  Attached a;
  a.mm.begin_write();
  a.vma.vma_start_write(a.mm);
  a.vma.vma_mark_detached(a.mm);
  a.mm.end_write();
  raw<std::uint32_t>(a.vma) += 1; // a reader that came in after the detach
  a.mm.begin_write();
  a.vma.set_mm(a.mm);
  EXPECT_EQ(a.vma.readers(), 1u);
  a.vma.vma_end_read();
  a.vma.vma_start_write(a.mm);
  a.vma.vma_mark_attached(a.mm);
  a.mm.end_write();
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  EXPECT_EQ(a.vma.readers(), 1u);
  a.vma.vma_end_read();
}

class VmaRwsemWrap : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(VmaRwsemWrap, I09_sequence_crosses_its_wraps_without_a_false_unlocked_or_a_hang) {
  Attached a(GetParam() - 6);
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
  EXPECT_EQ(a.vma.readers(), 0u);
}

TEST_P(VmaRwsemWrap, I09_vma_locked_2_to_the_32_sections_ago_is_not_locked_now) {
  Attached a(GetParam() - 6);
  const std::uint64_t then = a.mm.mm_lock_seq.load() - 1; // what attaching left in vm_lock_seq
  for (const std::uint64_t distance : {std::uint64_t(1) << 31, std::uint64_t(1) << 32}) {
    a.mm.mm_lock_seq = then - 1 + distance;
    a.mm.begin_write();
    ASSERT_FALSE(a.vma.is_write_locked(a.mm)) << distance;
    a.mm.end_write();
  }
}

INSTANTIATE_TEST_SUITE_P(Just, VmaRwsemWrap,
                         ::testing::Values(std::uint64_t(1) << 31, std::uint64_t(1) << 32,
                                           std::uint64_t(0)),
                         [](const auto& tested) {
                           return tested.param == 0                          ? "below_2_64"
                                  : tested.param == (std::uint64_t(1) << 31) ? "below_2_31"
                                                                             : "below_2_32";
                         });

TEST(VmaRwsemDeathTest, rules_of_the_writer_are_asserted) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Attached a;
  EXPECT_DEATH(a.vma.vma_start_write(a.mm), "without the mm write lock");
  EXPECT_DEATH(a.vma.vma_mark_detached(a.mm), "not write-locked");
  EXPECT_DEATH(a.mm.end_write(), "even inside a writer");
  VmaRwsem detached;
  EXPECT_DEATH((void)detached.vma_start_read_locked(), "attached while the mm lock is held");
}

} // namespace
} // namespace slat::mmu
