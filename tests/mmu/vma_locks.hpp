// Both locks that live in a VMA, for tests of what they have in common.
#pragma once

#include "mmu/vma_lock/vma_refcount.hpp"
#include "mmu/vma_lock/vma_rwsem.hpp"

#include "support.hpp"

namespace slat::mmu::testing {

using VmaLocks = ::testing::Types<VmaRefcount, VmaRwsem>;

struct VmaLockNames {
  template <class Lock> static std::string GetName(int) {
    return std::is_same_v<Lock, VmaRwsem> ? "vma_rwsem" : "vma_refcount";
  }
};

inline void never_free(MmShared*) {
  ADD_FAILURE() << "the mm was freed by a reader";
}

/// A VMA's lock, attached to an mm of its own.
template <class Lock> struct Attached {
  explicit Attached(std::uint64_t first_seq = 0) : mm(first_seq) {
    mm.begin_write();
    vma.set_mm(mm);
    vma.vma_start_write(mm);
    vma.vma_mark_attached(mm);
    mm.end_write();
  }

  MmShared mm;
  Lock vma;
};

/// Readers inside now, and whether a writer waits for them.
template <class A> std::uint32_t readers_of(const VmaRwsemOf<A>& lock) {
  return lock.readers();
}

template <class A> bool has_writer(const VmaRwsemOf<A>& lock) {
  return lock.has_writer();
}

template <class A> std::uint32_t readers_of(const VmaRefcountOf<A>& lock) {
  const std::uint32_t count = lock.vm_refcnt() & ~VmaRefcountOf<A>::vm_exclude;
  return count == 0 ? 0 : count - 1; // but for one: "attached"
}

template <class A> bool has_writer(const VmaRefcountOf<A>& lock) {
  return (lock.vm_refcnt() & VmaRefcountOf<A>::vm_exclude) != 0;
}

} // namespace slat::mmu::testing
