#include "mmu/address_space.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/mman.h>

namespace slat::mmu {

namespace {

int host_protection(std::uint32_t flags) {
  return ((flags & vm_read) != 0 ? PROT_READ : 0) | ((flags & vm_write) != 0 ? PROT_WRITE : 0) |
         ((flags & vm_exec) != 0 ? PROT_EXEC : 0);
}

void free_mm(MmShared* shared) {
  delete shared;
}

/// Unmaps the VMAs' parts of [start, end) and nothing in the holes between them. If the host
/// refuses one, those before it are mapped again.
Result<void> unmap_pieces(std::span<Vma* const> vmas, std::uintptr_t start, std::uintptr_t end) {
  for (std::size_t i = 0; i < vmas.size(); ++i) {
    const std::uintptr_t from = std::max(start, vmas[i]->vm_start);
    auto gone = host::unmap(from, std::min(end, vmas[i]->vm_end) - from);
    if (gone) continue;
    while (i-- > 0) {
      const Vma& vma = *vmas[i];
      const std::uintptr_t lost = std::max(start, vma.vm_start);
      auto back =
          host::map_shared(lost, std::min(end, vma.vm_end) - lost, host_protection(vma.vm_flags),
                           vma.vm_backing->fd(), vma.page_of(lost) << page_shift);
      SLAT_CHECK(back.has_value(), "a range that was just unmapped cannot be mapped again");
    }
    return forward(gone);
  }
  return {};
}

/// The part of a VMA that lies in [start, end), as pages of its backing.
PageRun part_of(const Vma& vma, std::uintptr_t start, std::uintptr_t end) {
  const std::uintptr_t first = std::max(start, vma.vm_start);
  const std::uintptr_t last = std::min(end, vma.vm_end);
  return {vma.page_of(first), (last - first) >> page_shift};
}

} // namespace

AddressSpace::AddressSpace(VmaCache& cache, Counters& counters)
    : cache_(&cache), counters_(&counters), shared_(new MmShared), mm_lock_(*shared_),
      notifiers_(counters) {}

AddressSpace::~AddressSpace() {
  notifiers_.release();
  {
    MmWriteGuard guard(mm_lock_);
    const std::vector<Vma*> vmas(tree_.all().begin(), tree_.all().end());
    for (Vma* vma : vmas) {
      vma->lock.vma_start_write(*shared_);
      if (!host::unmap(vma->vm_start, vma->vm_end - vma->vm_start))
        SLAT_CHECK(false, "munmap of a whole VMA failed");
    }
    detach_and_free(vmas);
  }
  cache_->flush(); // that may have been many
  fault_srcu_.barrier();
  if (shared_->drop()) free_mm(shared_);
}

Result<void> AddressSpace::check_range(std::uintptr_t address, std::uint64_t length) {
  if (address % page_size != 0 || length % page_size != 0 || length == 0 ||
      address + length < address)
    return fail(
        Errc::invalid_argument, 0,
        fmt::format("[{:#x}, +{:#x}) is not a page-aligned, non-empty range", address, length));
  return {};
}

Vma* AddressSpace::new_vma(std::uintptr_t start, std::uintptr_t end, const Vma& like) {
  Vma* const vma = cache_->get();
  if (vma == nullptr) return nullptr;
  SLAT_ASSERT(vma->lock.is_detached(), "the cache gave out an attached VMA (I03, I04)");
  // Field by field: the lock word of a recycled object is not ours to write (I04).
  vma->vm_start = start;
  vma->vm_end = end;
  vma->vm_pgoff = like.vm_pgoff + ((start - like.vm_start) >> page_shift);
  vma->vm_flags = like.vm_flags;
  vma->vm_backing = like.vm_backing;
  vma->vm_backing->get();
  vma->lock.set_mm(*shared_);
  vma->lock.vma_start_write(*shared_);
  return vma;
}

void AddressSpace::attach(Vma& vma) {
  vma.lock.vma_mark_attached(*shared_);
}

void AddressSpace::put_unused(std::span<Vma* const> vmas) {
  for (Vma* vma : vmas) {
    vma->vm_backing->put_after(fault_srcu_);
    cache_->put(vma);
  }
}

void AddressSpace::detach_and_free(std::span<Vma* const> vmas) {
  for (Vma* vma : vmas) vma->lock.vma_mark_detached(*shared_);
  put_unused(vmas);
}

Result<std::uintptr_t> AddressSpace::map(const MapRequest& request) {
  if (auto ok = check_range(request.address, request.length); !ok) return forward(ok);
  if (request.backing == nullptr || request.pgoff > request.backing->pages() ||
      (request.length >> page_shift) > request.backing->pages() - request.pgoff)
    return fail(Errc::invalid_argument, 0, "a mapping reaches beyond its backing");
  if (request.alignment < page_size || (request.alignment & (request.alignment - 1)) != 0)
    return fail(Errc::invalid_argument, 0,
                fmt::format("{} is not a usable alignment", request.alignment));

  MmWriteGuard guard(mm_lock_);
  if (request.address != 0 &&
      !tree_.overlapping(request.address, request.address + request.length).empty())
    return fail(Errc::exists, 0,
                fmt::format("guest memory is mapped at {:#x} already", request.address));
  auto where =
      host::map_shared(request.address, request.length, host_protection(request.flags),
                       request.backing->fd(), request.pgoff << page_shift, request.alignment);
  if (!where) return forward(where);

  Vma like;
  like.vm_start = *where;
  like.vm_pgoff = request.pgoff;
  like.vm_flags = request.flags;
  like.vm_backing = request.backing;
  Vma* const vma = new_vma(*where, *where + request.length, like);
  Result<VmaTree::Prepared> prepared = fail(Errc::no_memory, ENOMEM, "no memory for a VMA");
  if (vma != nullptr) prepared = tree_.prepare({}, {&vma, 1});
  if (!prepared) {
    if (vma != nullptr) put_unused({&vma, 1});
    (void)host::unmap(*where, request.length);
    return forward(prepared);
  }
  attach(*vma);
  tree_.commit(std::move(*prepared));
  return *where;
}

void AddressSpace::wait_for_page_owners(Backing& backing, PageRun run, bool fillers_too,
                                        std::uint64_t clear) {
  // The invalidator's half of DESIGN 7: the range's begin() has fenced, so a fault that locks a
  // page from now on sees the range; those that locked one before are waited for. New fills cannot
  // begin: the VMA is write-locked.
  for (std::uint64_t page = run.first; page < run.first + run.count; ++page) {
    PageWord& word = backing.word(page);
    const PageBits bits = word.read();
    const bool owned = fillers_too ? bits.owned() : bits.has(PageBits::locked);
    if (!owned && (bits.raw() & clear) == 0) continue;
    word.lock();
    word.unlock(0, clear);
  }
}

Result<void> AddressSpace::unmap(std::uintptr_t address, std::uint64_t length) {
  if (auto ok = check_range(address, length); !ok) return forward(ok);
  MmWriteGuard guard(mm_lock_);
  return unmap_locked(address, address + length);
}

Result<void> AddressSpace::unmap_locked(std::uintptr_t start, std::uintptr_t end) {
  const std::vector<Vma*> old(tree_.overlapping(start, end).begin(),
                              tree_.overlapping(start, end).end());
  if (old.empty()) return {};
  // Before anything is decided from their fields (I12).
  for (Vma* vma : old) vma->lock.vma_start_write(*shared_);

  // What is left on either side becomes new VMAs; the old objects go as a whole.
  std::vector<Vma*> rest;
  const Vma& first = *old.front();
  const Vma& last = *old.back();
  const auto leave = [&](std::uintptr_t from, std::uintptr_t to, const Vma& like) SLAT_NO_ANALYSIS {
    if (from >= to) return true;
    Vma* const vma = new_vma(from, to, like);
    if (vma != nullptr) rest.push_back(vma);
    return vma != nullptr;
  };
  Result<VmaTree::Prepared> prepared = fail(Errc::no_memory, ENOMEM, "no memory for a VMA");
  if (leave(first.vm_start, start, first) && leave(end, last.vm_end, last))
    prepared = tree_.prepare(old, rest);
  if (!prepared) {
    put_unused(rest);
    return forward(prepared);
  }

  const std::uintptr_t from = std::max(start, first.vm_start);
  const std::uintptr_t to = std::min(end, last.vm_end);
  auto scope = notifiers_.invalidate_range_start({from, to, InvalidateEvent::unmap});
  SLAT_CHECK(scope.has_value(), "a blockable range was refused");
  for (Vma* vma : old)
    wait_for_page_owners(*vma->vm_backing, part_of(*vma, from, to), true, PageBits::installed);
  if (auto gone = unmap_pieces(old, from, to); !gone) {
    scope->end();
    put_unused(rest);
    return forward(gone);
  }
  MmuGather gather(flushers_, *counters_, from, to);
  for (Vma* vma : old) gather.add(*vma->vm_backing, part_of(*vma, from, to));
  Result<void> freed = gather.flush().free();
  scope->end();

  // The tree first: a reader that meets a detached VMA walks again and must not find it a second
  // time.
  for (Vma* vma : rest) attach(*vma);
  tree_.commit(std::move(*prepared));
  detach_and_free(old);
  return freed;
}

Result<void> AddressSpace::advise(std::uintptr_t address, std::uint64_t length, Advice advice) {
  if (auto ok = check_range(address, length); !ok) return forward(ok);
  const std::uintptr_t end = address + length;
  MmWriteGuard guard(mm_lock_);
  const std::span<Vma* const> vmas = tree_.overlapping(address, end);
  std::uintptr_t covered = address;
  for (const Vma* vma : vmas)
    if (vma->vm_start <= covered) covered = vma->vm_end;
  if (covered < end)
    return fail(Errc::not_mapped, 0, fmt::format("nothing is mapped at {:#x}", covered));
  for (Vma* vma : vmas) vma->lock.vma_start_write(*shared_);

  const bool remove = advice == Advice::remove;
  auto scope = notifiers_.invalidate_range_start(
      {address, end, remove ? InvalidateEvent::remove : InvalidateEvent::zap});
  SLAT_CHECK(scope.has_value(), "a blockable range was refused");
  for (Vma* vma : vmas)
    wait_for_page_owners(*vma->vm_backing, part_of(*vma, address, end), remove,
                         PageBits::installed);
  if (auto zapped = host::zap(address, length); !zapped) return forward(zapped);
  MmuGather gather(flushers_, *counters_, address, end);
  if (remove)
    for (Vma* vma : vmas) gather.add(*vma->vm_backing, part_of(*vma, address, end));
  FlushedPages flushed = gather.flush();
  return flushed.free();
}

VmaTicket AddressSpace::lock_vma_under_rcu(std::uintptr_t address) {
  // Bounded: each round that ends in "detached" means that a writer has changed the tree since;
  // four times in a row is somebody to queue up behind.
  for (int round = 0; round < 4; ++round) {
    const rcu::ReadGuard section;
    Vma* const vma = tree_.find(address);
    if (vma == nullptr) return {};
    const VmaReadLock outcome = vma->lock.vma_start_read(*shared_, free_mm);
    if (outcome == VmaReadLock::detached) continue;
    if (outcome == VmaReadLock::contended) return {};
    if (vma->contains(address)) return {vma};
    vma->lock.vma_end_read(); // recycled inside this mm: attached and ours, but elsewhere (I01)
  }
  return {};
}

VmaTicket AddressSpace::lock_vma_under_mm_lock(std::uintptr_t address) {
  MmReadGuard guard(mm_lock_);
  Vma* const vma = tree_.find(address);
  if (vma == nullptr) return {};
  SLAT_CHECK(vma->lock.vma_start_read_locked(), "a VMA has a billion readers");
  return {vma};
}

std::vector<AddressSpace::VmaInfo> AddressSpace::vmas() {
  MmReadGuard guard(mm_lock_);
  std::vector<VmaInfo> infos;
  for (const Vma* vma : tree_.all())
    infos.push_back({vma->vm_start, vma->vm_end, vma->vm_pgoff, vma->vm_flags});
  return infos;
}

} // namespace slat::mmu
