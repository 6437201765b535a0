#include "vmm/softcpu/msr.hpp"

#include "vmm/guest_walk.hpp"

namespace slat::vmm::softcpu {
namespace {

constexpr std::uint32_t msr_tsc = 0x10, msr_apic_base = 0x1b, msr_microcode = 0x8b,
                        msr_sysenter_cs = 0x174, msr_sysenter_esp = 0x175, msr_sysenter_eip = 0x176,
                        msr_misc_enable = 0x1a0, msr_pat = 0x277, msr_efer = 0xc0000080,
                        msr_star = 0xc0000081, msr_lstar = 0xc0000082, msr_cstar = 0xc0000083,
                        msr_sfmask = 0xc0000084, msr_fs_base = 0xc0000100, msr_gs_base = 0xc0000101,
                        msr_kernel_gs_base = 0xc0000102, msr_tsc_aux = 0xc0000103;

enum class Check : std::uint8_t { any, canonical, low_half, memory_types };

/// Eight bytes of PAT: UC WC WT WP WB UC-.
bool are_memory_types(std::uint64_t value) {
  for (; value != 0; value >>= 8)
    if ((value & 0xff) > 7 || (value & 0xff) == 2 || (value & 0xff) == 3) return false;
  return true;
}

bool passes(Check check, std::uint64_t value) {
  switch (check) {
  case Check::canonical:
    return is_canonical(value, false);
  case Check::low_half:
    return value >> 32 == 0;
  case Check::memory_types:
    return are_memory_types(value);
  case Check::any:
    break;
  }
  return true;
}

struct Register {
  std::uint64_t CpuState::* field = nullptr;
  Check check = Check::any;
};

Register find(std::uint32_t number) {
  switch (number) {
  case msr_apic_base:
    return {&CpuState::apic_base};
  case msr_sysenter_cs:
    return {&CpuState::sysenter_cs};
  case msr_sysenter_esp:
    return {&CpuState::sysenter_esp, Check::canonical};
  case msr_sysenter_eip:
    return {&CpuState::sysenter_eip, Check::canonical};
  case msr_misc_enable:
    return {&CpuState::misc_enable};
  case msr_pat:
    return {&CpuState::pat, Check::memory_types};
  case msr_star:
    return {&CpuState::star};
  case msr_lstar:
    return {&CpuState::lstar, Check::canonical};
  case msr_cstar:
    return {&CpuState::cstar, Check::canonical};
  case msr_sfmask:
    return {&CpuState::sfmask};
  case msr_kernel_gs_base:
    return {&CpuState::kernel_gs_base, Check::canonical};
  case msr_tsc_aux:
    return {&CpuState::tsc_aux, Check::low_half};
  default:
    return {};
  }
}

} // namespace

bool read_msr(const CpuState& state, std::uint32_t number, std::uint64_t& value) {
  switch (number) {
  case msr_tsc:
    value = read_tsc(state);
    return true;
  case msr_microcode:
    value = 0;
    return true;
  case msr_efer:
    value = state.efer;
    return true;
  case msr_fs_base:
    value = state.segments[fs].base;
    return true;
  case msr_gs_base:
    value = state.segments[gs].base;
    return true;
  default:
    break;
  }
  const Register found = find(number);
  if (found.field == nullptr) return false;
  value = state.*found.field;
  return true;
}

bool write_msr(CpuState& state, std::uint32_t number, std::uint64_t value) {
  switch (number) {
  case msr_tsc:
    state.tsc_offset = value - __builtin_ia32_rdtsc();
    return true;
  case msr_microcode:
    return true;
  case msr_efer: {
    constexpr std::uint64_t may = efer_syscall | efer_long_mode | efer_no_execute;
    const std::uint64_t fixed = efer_long_mode_active | efer_long_mode; // long mode is never left
    if ((value & ~(may | efer_long_mode_active)) != 0 ||
        ((value ^ state.efer) & efer_long_mode) != 0)
      return false;
    state.efer = (value & may) | (state.efer & fixed);
    return true;
  }
  case msr_fs_base:
  case msr_gs_base:
    if (!is_canonical(value, false)) return false;
    state.segments[number == msr_fs_base ? fs : gs].base = value;
    return true;
  default:
    break;
  }
  const Register found = find(number);
  if (found.field == nullptr || !passes(found.check, value)) return false;
  state.*found.field = value;
  return true;
}

} // namespace slat::vmm::softcpu
