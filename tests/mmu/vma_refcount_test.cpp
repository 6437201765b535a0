// The reference count as the per-VMA lock: what it does in its own way. vma_lock_test.cpp has the rest.
#include "vma_locks.hpp"

namespace slat::mmu {
namespace {

using testing::Attached;
using testing::never_free;
using testing::raw;

TEST(VmaRefcount, reader_limit_is_a_refusal_and_no_overflow) {
  Attached<VmaRefcount> a;
  auto& count = raw<std::uint32_t>(a.vma);
  count = VmaRefcount::vm_reader_limit - 1;
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::locked);
  EXPECT_EQ(a.vma.vma_start_read(a.mm, never_free), VmaReadLock::contended);
  EXPECT_FALSE(a.vma.vma_start_read_locked());
  EXPECT_EQ(a.vma.vm_refcnt(), VmaRefcount::vm_reader_limit);
  count = 1;
}

TEST(VmaRefcount, I05_last_pin_tells_who_frees_the_mm) {
  MmShared mm;
  mm.grab();
  EXPECT_FALSE(mm.drop());
  EXPECT_TRUE(mm.drop());
}

} // namespace
} // namespace slat::mmu
