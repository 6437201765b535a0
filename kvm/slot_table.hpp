// SlotTable: how large each memory slot is. KVM writes a dirty log of the slot's size wherever it
// is told to, so a bitmap that is too small must be refused here.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace slat::kvm {

/// Pages (4 KiB) of each slot. Held across the calls that change or read a slot, so that it agrees
/// with the kernel; the kernel itself serialises those calls, so nothing is lost. A leaf lock.
struct SlotTable {
  std::mutex mutex;
  std::unordered_map<std::uint32_t, std::uint64_t> pages; // guarded by mutex
};

} // namespace slat::kvm
