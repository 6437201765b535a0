#include "vmm/softcpu/cpuid.hpp"

#include "vmm/softcpu/cpu_state.hpp"

namespace slat::vmm::softcpu {

CpuidTable software_cpuid(unsigned index, unsigned count, std::uint32_t tsc_khz) {
  // Leaf 1 EDX: DE PSE TSC MSR PAE CX8 PGE CMOV; ECX: CX16 PCID MOVBE POPCNT HYPERVISOR.
  constexpr std::uint32_t edx1 =
      1U << 2 | 1U << 3 | 1U << 4 | 1U << 5 | 1U << 6 | 1U << 8 | 1U << 13 | 1U << 15;
  constexpr std::uint32_t ecx1 = 1U << 13 | 1U << 17 | 1U << 22 | 1U << 23 | 1U << 31;
  // Leaf 7 EBX: FSGSBASE BMI1 SMEP BMI2 ERMS INVPCID ADX SMAP.
  constexpr std::uint32_t ebx7 =
      1U << 0 | 1U << 3 | 1U << 7 | 1U << 8 | 1U << 9 | 1U << 10 | 1U << 19 | 1U << 20;
  // Leaf 0x80000001 EDX: SYSCALL NX 1GB RDTSCP LM; ECX: LAHF LZCNT PREFETCHW.
  constexpr std::uint32_t edx81 = 1U << 11 | 1U << 20 | 1U << 26 | 1U << 27 | 1U << 29;
  constexpr std::uint32_t ecx81 = 1U << 0 | 1U << 5 | 1U << 8;
  std::vector<CpuidEntry> entries = {
      {0, {}, {7, 0x74616c73, 0x20757063, 0x74666f73}}, // "slatsoftcpu "
      {1, {}, {0x600, count << 16 | index << 24, ecx1, edx1}},
      {7, 0, {0, ebx7, 0, 0}},
      {0x40000000, {}, {tsc_khz != 0 ? 0x40000010U : 0x40000000U, 0, 0, 0}},
      {0x80000000, {}, {0x80000008, 0, 0, 0}},
      {0x80000001, {}, {0, 0, ecx81, edx81}},
      {0x80000008,
       {},
       {48U << 8 | physical_address_bits, 0, 0, 0}}, // linear and physical address bits
  };
  if (tsc_khz != 0) entries.push_back({0x40000010, {}, {tsc_khz, 0, 0, 0}});
  return CpuidTable(std::move(entries));
}

} // namespace slat::vmm::softcpu
