// AddressSpaceOf<Design>: an address space made of one of the designs of vma_lock/. Only what makes
// address spaces includes this; everybody else uses the face.
#pragma once

#include "mmu/address_space.hpp"
#include "mmu/vma_change.hpp"

namespace slat::mmu {

class LockedPages;

template <class D> class AddressSpaceOf final : public AddressSpace {
 public:
  AddressSpaceOf(const AddressSpaceOptions& options, Counters& counters, const HostWindow& window)
      : AddressSpace(options, counters), window_(window),
        design_(fault_srcu_, options.first_sequence) {}

  ~AddressSpaceOf() override;

  Result<std::uintptr_t> map(const MapRequest& request) override;
  Result<void> unmap(std::uintptr_t address, std::uint64_t length) override;
  Result<void> protect(std::uintptr_t address, std::uint64_t length, std::uint32_t flags) override;
  Result<std::uintptr_t> move(const MoveRequest& request) override;
  Result<void> migrate(const MigrateRequest& request) override;
  Result<void> advise(std::uintptr_t address, std::uint64_t length, Advice advice) override;
  Result<Reclaimed> reclaim(std::uintptr_t address, std::uint64_t length) override;
  Result<std::uint64_t> track_writes(std::uintptr_t address, std::uint64_t length) override;
  Result<void> untrack_writes(std::uintptr_t address, std::uint64_t length) override;
  bool read_unwritten(std::uintptr_t address, std::span<std::byte, page_size> into) override;
  Result<void> lock(std::uintptr_t address, std::uint64_t length) override;
  Result<void> unlock(std::uintptr_t address, std::uint64_t length) override;
  FaultOutcome handle_fault(const FaultRequest& request) override;

  [[nodiscard]] VmaTicket lock_vma_under_rcu(std::uintptr_t address) override {
    return design_.begin(address);
  }

  [[nodiscard]] VmaTicket lock_vma_under_mm_lock(std::uintptr_t address) override {
    return design_.begin_locked(address);
  }

  [[nodiscard]] bool vma_commit(const VmaTicket& ticket) override { return design_.commit(ticket); }

  [[nodiscard]] VmaView vma_now(const VmaTicket& ticket) override {
    return static_cast<const Vma*>(ticket.vma)->view();
  }

  void vma_end_read(const VmaTicket& ticket) override { design_.end(ticket); }

  [[nodiscard]] VmaViews vmas() override;
  [[nodiscard]] MemoryUsage usage() override;

  [[nodiscard]] VmaLockDesign vma_lock() const override { return D::kind; }

  [[nodiscard]] D& design() { return design_; }

 private:
  using Vma = typename D::Vma;
  using WriteGuard = MmWriteGuard<D>;
  using Change = VmaChange<D>;
  using Neighbours = typename Change::Neighbours;

  Result<std::uintptr_t> move_or_resize(const MoveRequest& request) SLAT_REQUIRES(design_.mm_lock);
  Result<std::uintptr_t> map_locked(const MapRequest& request) SLAT_REQUIRES(design_.mm_lock);
  Result<std::uintptr_t> choose_place(const MapRequest& request) SLAT_REQUIRES(design_.mm_lock);
  Result<std::uintptr_t> move_locked(const MoveRequest& request, VmaView growth)
      SLAT_REQUIRES(design_.mm_lock);
  Result<void> migrate_locked(const MigrateRequest& request) SLAT_REQUIRES(design_.mm_lock);
  Result<void> unmap_locked(std::uintptr_t start, std::uintptr_t end)
      SLAT_REQUIRES(design_.mm_lock);
  Result<void> set_flags(std::uintptr_t start, std::uintptr_t end, std::uint32_t mask,
                         std::uint32_t flags) SLAT_REQUIRES(design_.mm_lock);
  Result<void> discard(std::uintptr_t start, std::uintptr_t end, Advice advice);
  // present_batches.hpp
  [[nodiscard]] std::optional<VmaView> first_vma(std::uintptr_t address);
  template <class Visit>
  Result<void> each_present_batch(std::uintptr_t start, std::uintptr_t end, Visit visit);
  template <class Good> bool lock_batch(const VmaView& batch, LockedPages& pages, Good good);
  Result<Reclaimed> reclaim_batch(const VmaView& batch);
  Result<std::uint64_t> track_batch(const VmaView& batch);
  Result<void> make_cold(std::uintptr_t start, std::uintptr_t end);
  Result<void> fill_range(std::uintptr_t start, std::uintptr_t end, SecondaryMmu* mmu);
  /// For what has been locked: tries to fill it, without a word if it cannot.
  void fill_locked(std::uintptr_t start, std::uintptr_t end);
  /// The VMAs in [start, end); Errc::not_mapped if there is a hole.
  Result<VmaViews> all_mapped(std::uintptr_t start, std::uintptr_t end)
      SLAT_REQUIRES_SHARED(design_.mm_lock);
  /// What the limits say to `change`.
  Result<void> check_limits(const Change& change) const SLAT_REQUIRES(design_.mm_lock);
  /// Commits the change and counts it.
  void commit(Change& change) SLAT_REQUIRES(design_.mm_lock);

  const HostWindow window_;
  D design_;
  MemoryUsage usage_ SLAT_GUARDED_BY(design_.mm_lock);
};

/// True, or why not: page aligned, not empty, not around the end of the address space.
Result<void> check_range(std::uintptr_t address, std::uint64_t length);

/// Runs an operation that plans with std containers; what they throw becomes an Error. Nothing has
/// happened then: no plan allocates after its first effect.
template <class Operation> auto no_throw(Operation operation) -> decltype(operation()) {
  try {
    return operation();
  } catch (const std::bad_alloc&) {
    return fail(Errc::no_memory, ENOMEM, "out of memory"); // short: allocates nothing
  }
}

} // namespace slat::mmu
