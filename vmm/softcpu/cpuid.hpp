// What CPUID shows in a software vCPU.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace slat::vmm::softcpu {

struct CpuidValue {
  std::uint32_t eax, ebx, ecx, edx;
};

struct CpuidEntry {
  std::uint32_t leaf;
  std::optional<std::uint32_t> subleaf; // none: all
  CpuidValue value;
};

class CpuidTable {
 public:
  CpuidTable() = default;

  explicit CpuidTable(std::vector<CpuidEntry> entries) : entries_(std::move(entries)) {}

  /// Zeroes where there is no entry, as the processors that own guests know do.
  [[nodiscard]] CpuidValue find(std::uint32_t leaf, std::uint32_t subleaf) const {
    for (const CpuidEntry& entry : entries_)
      if (entry.leaf == leaf && (!entry.subleaf || *entry.subleaf == subleaf)) return entry.value;
    return {};
  }

 private:
  std::vector<CpuidEntry> entries_;
};

/// What this processor is: long mode without x87 and SSE, with CMPXCHG16B, MOVBE, POPCNT, BMI1, BMI2 and ADX; as vCPU
/// `index` of `count`. `tsc_khz` is in leaf 0x40000010, unless it is 0.
[[nodiscard]] CpuidTable software_cpuid(unsigned index, unsigned count, std::uint32_t tsc_khz);

} // namespace slat::vmm::softcpu
