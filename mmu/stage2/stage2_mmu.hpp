// Stage2Mmu: a Stage2Table behind an address space. Resolved faults are installed into it, and it is
// told what goes away.
//
// Slots say which guest-physical addresses stand for which part of the guest view (KVM's memslots). The
// host side of a slot must not move: what is mapped at an address of the guest view is always the same
// page of the host view.
#pragma once

#include "mmu/notifier.hpp"
#include "mmu/secondary_mmu.hpp"
#include "mmu/stage2/stage2_table.hpp"

#include <span>
#include <vector>

namespace slat::mmu::stage2 {

struct Stage2Slot {
  std::uint64_t guest;  // guest-physical; page aligned, as are the others
  std::uintptr_t start; // in the guest view
  std::uintptr_t end;   // exclusive
  std::uint64_t host;   // of `start`, in the host view
};

template <class F> class Stage2Mmu final : public SecondaryMmu, public Notifier {
 public:
  /// `table` and `sequence`, the address space's, outlive it. Slots do not overlap. Huge leaves are
  /// made where an installed run covers one.
  Stage2Mmu(Stage2Table<F>& table, const InvalidateSeq& sequence, std::vector<Stage2Slot> slots)
      : table_(&table), sequence_(&sequence), slots_(std::move(slots)) {}

  /// See SecondaryMmu. The pages are locked, so no range over them that changes anything can have
  /// ended since the caller's check: what is left to ask, between the two phases, is whether one has
  /// begun. (A change of the map waits for locked pages. Reclaim does not, in the end: it may end over
  /// them, but it changes none but those that it has locked itself.)
  [[nodiscard]] InstallResult install(std::uintptr_t address, std::size_t pages,
                                      bool writable) override;

  /// Unmaps and flushes the range; what is unmapped for good takes its table pages along. Refuses if
  /// it may not sleep, for a flush does.
  bool invalidate_range_start(const NotifierRange& range) override;

  void invalidate_range_end(const NotifierRange&) override {}

  bool clear_flush_young(std::uintptr_t start, std::uintptr_t end) override;
  bool clear_young(std::uintptr_t start, std::uintptr_t end) override;
  bool test_young(std::uintptr_t start, std::uintptr_t end) override;
  void release() override;

 private:
  /// The slot of an address, or nullptr.
  [[nodiscard]] const Stage2Slot* find(std::uintptr_t address) const;
  /// Calls `function(guest_start, guest_end)` for each part of the range that a slot has.
  template <class Function>
  void each_part(std::uintptr_t start, std::uintptr_t end, Function function) const;
  bool age(std::uintptr_t start, std::uintptr_t end, Age how);

  Stage2Table<F>* table_;
  const InvalidateSeq* sequence_;
  const std::vector<Stage2Slot> slots_;
};

} // namespace slat::mmu::stage2
