// The semaphore form of the per-VMA lock: what it does in its own way. vma_lock_test.cpp has the rest.
#include "vma_locks.hpp"

namespace slat::mmu {
namespace {

using testing::Attached;
using testing::eventually;
using testing::never_free;
using testing::raw;
using testing::stays;

TEST(VmaRwsem, reader_limit_is_a_refusal_and_no_overflow) {
  Attached<VmaRwsem> a;
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
  Attached<VmaRwsem> a;
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
  Attached<VmaRwsem> a;
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

} // namespace
} // namespace slat::mmu
