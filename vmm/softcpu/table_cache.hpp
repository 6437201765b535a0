// TableCache: where stage 2 has the guest's own page tables. A guest walk reads three or four of them; without this each
// would be a walk of the stage-2 table. After the paging-structure caches of processors.
#pragma once

#include "vmm/softcpu/guest_physical.hpp"
#include "vmm/softcpu/tlb.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace slat::vmm::softcpu {

class TableCache {
 public:
  /// `physical` must outlive it.
  explicit TableCache(GuestPhysical& physical) : physical_(&physical) { flush(); }

  /// GuestPhysical::translate() for writing: a walk sets A and D bits in tables. The same rules: in guest mode only.
  [[nodiscard]] GuestPhysical::Page at(std::uint64_t gpa) {
    Entry& entry = entries_[gpa / page_bytes % entries_.size()];
    if (entry.gpa == gpa) [[likely]]
      return {GuestPhysical::Kind::memory, entry.host};
    const GuestPhysical::Page page = physical_->translate(gpa, Access::write);
    if (page.kind == GuestPhysical::Kind::memory) entry = {gpa, page.host};
    return page;
  }

  /// With the TLB, whenever stage 2 asks for a flush (I36).
  void flush() { entries_.fill({none, nullptr}); }

 private:
  static constexpr std::uint64_t none = 1; // no page begins there

  struct Entry {
    std::uint64_t gpa;
    std::byte* host;
  };

  GuestPhysical* physical_;
  std::array<Entry, 64> entries_;
};

} // namespace slat::vmm::softcpu
