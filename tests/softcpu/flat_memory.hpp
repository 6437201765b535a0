// GuestPhysical for tests: some pages at chosen guest physical addresses, devices elsewhere.
#pragma once

#include "vmm/softcpu/guest_physical.hpp"

#include <cstring>
#include <map>
#include <memory>
#include <new>

namespace slat::test {

class FlatMemory final : public vmm::softcpu::GuestPhysical {
 public:
  struct alignas(4096) Bytes {
    std::byte bytes[4096];
  };

  /// `size` bytes of zeroes, contiguous in the host too. All addresses are page-aligned.
  std::byte* add(std::uint64_t gpa, std::uint64_t size) {
    Range& range = ranges_[gpa];
    range.size = size;
    range.pages = std::make_unique<Bytes[]>(size / 4096);
    std::memset(range.pages.get(), 0, size);
    return range.pages[0].bytes;
  }

  Page translate(std::uint64_t gpa, vmm::softcpu::Access) override {
    auto at = ranges_.upper_bound(gpa);
    if (at != ranges_.begin()) {
      --at;
      if (gpa - at->first < at->second.size)
        return {Kind::memory, at->second.pages[0].bytes + (gpa - at->first)};
    }
    return {Kind::device, nullptr};
  }

  slat::mmu::FaultResult fault(std::uint64_t, vmm::softcpu::Access) override {
    return slat::mmu::FaultResult::failed; // nothing is ever absent
  }

 private:
  struct Range {
    std::uint64_t size = 0;
    std::unique_ptr<Bytes[]> pages;
  };

  std::map<std::uint64_t, Range> ranges_;
};

} // namespace slat::test
