#include "mmu/stage2/stage2_mmu.hpp"

#include "mmu/stage2/arm64_format.hpp"
#include "mmu/stage2/ept_format.hpp"

#include <algorithm>

namespace slat::mmu::stage2 {

namespace {

/// The sequence as an install under page locks needs it.
class RangesInProgress {
 public:
  explicit RangesInProgress(const InvalidateSeq& sequence) : sequence_(&sequence) {}

  [[nodiscard]] Staleness stale(std::uint64_t, std::uint64_t start, std::uint64_t end) const {
    return sequence_->in_progress(start, end) ? Staleness::in_progress : Staleness::fresh;
  }

 private:
  const InvalidateSeq* sequence_;
};

InstallStatus status_of(MapOutcome outcome) {
  switch (outcome) {
  case MapOutcome::installed:
    return InstallStatus::installed;
  case MapOutcome::present:
    return InstallStatus::already_installed;
  case MapOutcome::retry:
  case MapOutcome::moved:
  case MapOutcome::in_progress:
    return InstallStatus::retry;
  case MapOutcome::no_memory:
    return InstallStatus::no_memory;
  case MapOutcome::denied:
  case MapOutcome::out_of_range:
    break;
  }
  return InstallStatus::failed;
}

} // namespace

template <class F>
Stage2Mmu<F>::Stage2Mmu(Stage2Table<F>& table, const InvalidateSeq& sequence,
                        const std::vector<Stage2Slot>& slots)
    : table_(&table), sequence_(&sequence), slots_(slots.size()) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    slots_[i].guest = slots[i].guest;
    slots_[i].bytes = slots[i].end - slots[i].start;
    set_slot(i, slots[i].start);
  }
}

template <class F> void Stage2Mmu<F>::remove_slot(std::size_t index) {
  LiveSlot& slot = slots_[index];
  slot.start.store(0, std::memory_order_relaxed); // see LiveSlot
  table_->zap_range(slot.guest, slot.guest + slot.bytes, Tables::free);
}

template <class F> void Stage2Mmu<F>::set_slot(std::size_t index, std::uintptr_t start) {
  slots_[index].start.store(start, std::memory_order_relaxed); // see LiveSlot
}

template <class F> typename Stage2Mmu<F>::Place Stage2Mmu<F>::find(std::uintptr_t address) const {
  for (const LiveSlot& slot : slots_) {
    const std::uintptr_t where = slot.where();
    if (where != 0 && address - where < slot.bytes) return {&slot, address - where};
  }
  return {};
}

template <class F>
template <class Function>
void Stage2Mmu<F>::each_part(std::uintptr_t start, std::uintptr_t end, Function function) const {
  for (const LiveSlot& slot : slots_) {
    const std::uintptr_t where = slot.where();
    if (where == 0) continue;
    const std::uintptr_t from = std::max(start, where);
    const std::uintptr_t to = std::min(end, where + slot.bytes);
    if (from < to) function(slot.guest + (from - where), slot.guest + (to - where));
  }
}

template <class F> InstallResult Stage2Mmu<F>::install(const InstallRequest& run) {
  const auto [slot, offset] = find(run.address);
  if (slot == nullptr) return {InstallStatus::gone, 0};
  const RangesInProgress ranges(*sequence_);
  const std::size_t wanted =
      std::min<std::size_t>(run.pages, (slot->bytes - offset) >> F::shift(1));
  bool any = false;
  for (std::size_t done = 0; done < wanted;) {
    const std::uint64_t at = done << F::shift(1);
    Stage2Fault fault{.address = slot->guest + offset + at,
                      .host = reinterpret_cast<std::uintptr_t>(run.host) + at,
                      .hva = run.address + at,
                      .allowed = {true, run.writable, true},
                      .write = run.writable};
    std::size_t step = 1;
    for (unsigned level = 2; level <= F::max_leaf_level; ++level)
      if (fault.address % F::span(level) == 0 && fault.host % F::span(level) == 0 &&
          wanted - done >= F::span(level) >> F::shift(1)) {
        fault.max_level = level;
        step = F::span(level) >> F::shift(1);
      }
    MapOutcome outcome = table_->map(fault, ranges, 0);
    if (step > 1 && outcome == MapOutcome::present) step = 1; // of whatever size it is
    if (step > 1 && outcome == MapOutcome::installed) {
      // Smaller leaves may have been there: then it was one page.
      const auto found = table_->translate(fault.address);
      if (!found || found->level < fault.max_level) step = 1;
    }
    if (outcome != MapOutcome::installed && outcome != MapOutcome::present) {
      if (done != 0) return {InstallStatus::partial, done};
      return {status_of(outcome), 0};
    }
    any |= outcome == MapOutcome::installed;
    done += step;
  }
  if (!any) return {InstallStatus::already_installed, 0};
  return {wanted == run.pages ? InstallStatus::installed : InstallStatus::partial, wanted};
}

template <class F> bool Stage2Mmu<F>::invalidate_range_start(const NotifierRange& range) {
  bool concerned = false;
  each_part(range.start, range.end, [&](std::uint64_t, std::uint64_t) { concerned = true; });
  if (!concerned) return true;
  if (!range.blockable) return false;
  if (range.event == InvalidateEvent::write_protect) {
    each_part(range.start, range.end,
              [&](std::uint64_t from, std::uint64_t to) { table_->protect_range(from, to); });
    return true;
  }
  const Tables tables = range.event == InvalidateEvent::unmap ? Tables::free : Tables::keep;
  each_part(range.start, range.end,
            [&](std::uint64_t from, std::uint64_t to) { table_->zap_range(from, to, tables); });
  return true;
}

template <class F> bool Stage2Mmu<F>::age(std::uintptr_t start, std::uintptr_t end, Age how) {
  bool young = false;
  each_part(start, end,
            [&](std::uint64_t from, std::uint64_t to) { young |= table_->age(from, to, how); });
  return young;
}

template <class F> bool Stage2Mmu<F>::clear_flush_young(std::uintptr_t start, std::uintptr_t end) {
  return age(start, end, Age::clear_and_flush);
}

template <class F> bool Stage2Mmu<F>::clear_young(std::uintptr_t start, std::uintptr_t end) {
  return age(start, end, Age::clear);
}

template <class F> bool Stage2Mmu<F>::test_young(std::uintptr_t start, std::uintptr_t end) {
  return age(start, end, Age::test);
}

template <class F> void Stage2Mmu<F>::release() {
  table_->zap_range(0, table_->options().limit, Tables::free);
}

template class Stage2Mmu<EptFormat>;
template class Stage2Mmu<Arm64Format>;

} // namespace slat::mmu::stage2
