#include "vmm/pc_setup.hpp"

#include <algorithm>
#include <bit>

namespace slat::vmm {
namespace {

constexpr std::uint32_t hyper_threading =
    1U << 28; // leaf 1, edx: more than one processor in the socket
constexpr std::uint32_t tsc_deadline = 1U << 24; // leaf 1, ecx
constexpr std::uint32_t hypervisor =
    1U << 31; // leaf 1, ecx: without it Linux does not look for KVM's clock
constexpr std::uint32_t cores_not_threads = 1U << 1; // leaf 0x80000001, ecx

kvm_cpuid_entry2 topology_level(std::uint32_t leaf, std::uint32_t level, std::uint32_t shift,
                                std::uint32_t processors, unsigned index) {
  constexpr std::uint32_t kinds[] = {1, 2, 0}; // thread, core, the end
  kvm_cpuid_entry2 entry{};
  entry.function = leaf;
  entry.index = level;
  entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  entry.eax = shift;
  entry.ebx = processors;
  entry.ecx = level | kinds[level] << 8;
  entry.edx = index;
  return entry;
}

void set_bit(std::uint32_t& word, std::uint32_t bit, bool on) {
  word = on ? word | bit : word & ~bit;
}

} // namespace

void show_pc(std::vector<kvm_cpuid_entry2>& cpuid, unsigned index, unsigned count,
             bool has_tsc_deadline) {
  const auto core_bits = std::uint32_t(std::bit_width(count - 1));
  std::vector<kvm_cpuid_entry2> levels;
  for (kvm_cpuid_entry2& entry : cpuid) {
    switch (entry.function) {
    case 1:
      set_bit(entry.edx, hyper_threading, count > 1);
      set_bit(entry.ecx, tsc_deadline, has_tsc_deadline);
      set_bit(entry.ecx, hypervisor, true);
      break;
    case 4: // caches: the last level is everybody's, the others are one core's
      if ((entry.eax & 0x1f) != 0) {
        const std::uint32_t sharing = (entry.eax >> 5 & 7) >= 3 ? count - 1 : 0;
        entry.eax = (entry.eax & 0x3fff) | std::min(sharing, 0xfffU) << 14 |
                    std::min(count - 1, 0x3fU) << 26;
      }
      break;
    case 0xb:
    case 0x1f:
      if (entry.index == 0) {
        levels.push_back(topology_level(entry.function, 0, 0, 1, index));
        levels.push_back(topology_level(entry.function, 1, core_bits, count, index));
        levels.push_back(topology_level(entry.function, 2, 0, 0, index));
      }
      break;
    case 0x80000001:
      set_bit(entry.ecx, cores_not_threads, count > 1);
      break;
    case 0x80000008:
      entry.ecx = (entry.ecx & ~0xf0ffU) | std::min(count - 1, 0xffU) | core_bits << 12;
      break;
    case 0x8000001e:
      entry.eax = index;
      entry.ebx = index & 0xff; // a core of its own
      entry.ecx = 0;
      break;
    default:
      break;
    }
  }
  std::erase_if(cpuid, [](const kvm_cpuid_entry2& entry) {
    return entry.function == 0xb || entry.function == 0x1f;
  });
  cpuid.insert(cpuid.end(), levels.begin(), levels.end());
}

void set_pc_msrs(kvm::Vcpu& vcpu) {
  constexpr std::uint32_t misc_enable = 0x1a0;
  constexpr std::uint32_t mtrr_default = 0x2ff;
  for (const auto& [number, value] :
       {std::pair{misc_enable, std::uint64_t{1}}, std::pair{mtrr_default, std::uint64_t{0x806}}}) {
    kvm_msr_entry msr{};
    msr.index = number;
    msr.data = value;
    (void)vcpu.set_msrs({&msr, 1});
  }
}

} // namespace slat::vmm
