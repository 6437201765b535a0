// Stage2Mmu: a Stage2Table behind an address space. Resolved faults are installed into it, and it is
// told what goes away.
//
// Slots say which guest-physical addresses stand for which part of the guest view (KVM's memslots). The
// part may move: remove_slot(), AddressSpace::move(), set_slot().
#pragma once

#include "mmu/notifier.hpp"
#include "mmu/secondary_mmu.hpp"
#include "mmu/stage2/stage2_table.hpp"

#include <atomic>
#include <cstddef>
#include <vector>

namespace slat::mmu::stage2 {

struct Stage2Slot {
  std::uint64_t guest;  // guest-physical; page aligned, as are the others
  std::uintptr_t start; // in the guest view
  std::uintptr_t end;   // exclusive
};

template <class F> class Stage2Mmu final : public SecondaryMmu, public Notifier {
 public:
  /// `table` and `sequence`, the address space's, outlive it. Slots do not overlap. Huge leaves are
  /// made where an installed run covers one.
  Stage2Mmu(Stage2Table<F>& table, const InvalidateSeq& sequence,
            const std::vector<Stage2Slot>& slots);

  /// Takes the slot's translations away, and its part of the guest view: nothing is installed into it until
  /// set_slot(). No vCPU is in guest mode or in a fault. Sleeps.
  void remove_slot(std::size_t index);
  /// Its part of the guest view begins at `start`. The same.
  void set_slot(std::size_t index, std::uintptr_t start);

  /// See SecondaryMmu. The pages are locked, so no range over them that changes anything can have
  /// ended since the caller's check: what is left to ask, between the two phases, is whether one has
  /// begun. (A change of the map waits for locked pages. Reclaim does not, in the end: it may end over
  /// them, but it changes none but those that it has locked itself.)
  [[nodiscard]] InstallResult install(const InstallRequest& run) override;

  /// Unmaps, or write-protects, and flushes the range; what is unmapped for good takes its table pages along. Refuses if
  /// it may not sleep, for a flush does.
  bool invalidate_range_start(const NotifierRange& range) override;

  void invalidate_range_end(const NotifierRange&) override {}

  bool clear_flush_young(std::uintptr_t start, std::uintptr_t end) override;
  bool clear_young(std::uintptr_t start, std::uintptr_t end) override;
  bool test_young(std::uintptr_t start, std::uintptr_t end) override;
  void release() override;

 private:
  struct LiveSlot {
    std::uint64_t guest = 0;
    std::uint64_t bytes = 0;
    // 0: removed. Relaxed: an install and an invalidation of the same address order themselves by the two fences of
    // install.hpp, between which each reads this, so an invalidator that an install does not see finds the slot where
    // the install did.
    std::atomic<std::uintptr_t> start{0};

    [[nodiscard]] std::uintptr_t where() const { return start.load(std::memory_order_relaxed); }
  };

  struct Place {
    const LiveSlot* slot = nullptr; // nullptr: no slot has the address
    std::uint64_t offset = 0;
  };

  [[nodiscard]] Place find(std::uintptr_t address) const;
  /// Calls `function(guest_start, guest_end)` for each part of the range that a slot has.
  template <class Function>
  void each_part(std::uintptr_t start, std::uintptr_t end, Function function) const;
  bool age(std::uintptr_t start, std::uintptr_t end, Age how);

  Stage2Table<F>* table_;
  const InvalidateSeq* sequence_;
  std::vector<LiveSlot> slots_; // never more or fewer
};

} // namespace slat::mmu::stage2
