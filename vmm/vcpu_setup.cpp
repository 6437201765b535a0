#include "vmm/vcpu_setup.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace slat::vmm {

namespace {

constexpr std::uint32_t hypervisor_leaf = 0x40000000;
constexpr std::uint32_t timing_leaf = 0x40000010; // EAX: TSC frequency in kHz

kvm_segment to_kvm(const SegmentValue& value) {
  kvm_segment segment{};
  segment.base = value.base;
  segment.limit = value.limit;
  segment.selector = value.selector;
  segment.type = value.type;
  segment.present = 1;
  segment.dpl = value.dpl & 3;
  segment.db = value.big;
  segment.s = value.code_or_data;
  segment.l = value.long_mode;
  segment.g = value.granular;
  return segment;
}

tl::unexpected<Error> host_error(const kvm::Error& error) {
  return fail(Errc::host_failed, error.os_error, error.message);
}

CrashSegment to_crash(const kvm_segment& segment) {
  return {segment.selector, segment.base};
}

} // namespace

std::vector<kvm_cpuid_entry2> guest_cpuid(std::vector<kvm_cpuid_entry2> entries, unsigned index,
                                          unsigned count, std::uint32_t tsc_khz) {
  for (kvm_cpuid_entry2& entry : entries) {
    if (entry.function == 1) {
      entry.ebx = (entry.ebx & 0x0000ffff) | (count << 16) | (index << 24);
    } else if (entry.function == 0xb || entry.function == 0x1f) {
      entry.edx = index; // x2APIC id
    } else if (entry.function == hypervisor_leaf && tsc_khz != 0) {
      entry.eax = std::max(entry.eax, timing_leaf);
    }
  }
  std::erase_if(entries,
                [](const kvm_cpuid_entry2& entry) { return entry.function == timing_leaf; });
  if (tsc_khz != 0) {
    kvm_cpuid_entry2 timing{};
    timing.function = timing_leaf;
    timing.eax = tsc_khz;
    entries.push_back(timing);
  }
  return entries;
}

Result<void> set_entry_state(kvm::Vcpu& vcpu, const EntryState& entry) {
  auto sregs = vcpu.get_sregs();
  if (!sregs) return host_error(sregs.error());
  sregs->cs = to_kvm(entry.code);
  for (kvm_segment* data : {&sregs->ds, &sregs->es, &sregs->fs, &sregs->gs, &sregs->ss})
    *data = to_kvm(entry.data);
  sregs->tr = to_kvm(entry.task);
  sregs->gdt.base = entry.gdt.base;
  sregs->gdt.limit = entry.gdt.limit;
  sregs->idt = {};
  sregs->cr0 = entry.cr0;
  sregs->cr3 = entry.cr3;
  sregs->cr4 = entry.cr4;
  sregs->efer = entry.efer;
  if (auto ok = vcpu.set_sregs(*sregs); !ok) return host_error(ok.error());
  kvm_regs regs{};
  regs.rip = entry.rip;
  regs.rsi = entry.rsi;
  regs.rdi = entry.rdi;
  regs.rdx = entry.rdx;
  regs.rflags = entry.rflags;
  if (auto ok = vcpu.set_regs(regs); !ok) return host_error(ok.error());
  return {};
}

CrashRegisters crash_registers(kvm::Vcpu& vcpu) {
  CrashRegisters crash{};
  if (const auto regs = vcpu.get_regs()) {
    crash.rax = regs->rax, crash.rbx = regs->rbx, crash.rcx = regs->rcx, crash.rdx = regs->rdx;
    crash.rsi = regs->rsi, crash.rdi = regs->rdi, crash.rbp = regs->rbp, crash.rsp = regs->rsp;
    crash.r8 = regs->r8, crash.r9 = regs->r9, crash.r10 = regs->r10, crash.r11 = regs->r11;
    crash.r12 = regs->r12, crash.r13 = regs->r13, crash.r14 = regs->r14, crash.r15 = regs->r15;
    crash.rip = regs->rip, crash.rflags = regs->rflags;
  }
  if (const auto sregs = vcpu.get_sregs()) {
    crash.cr0 = sregs->cr0, crash.cr2 = sregs->cr2, crash.cr3 = sregs->cr3, crash.cr4 = sregs->cr4;
    crash.efer = sregs->efer;
    crash.cs = to_crash(sregs->cs), crash.ds = to_crash(sregs->ds), crash.es = to_crash(sregs->es);
    crash.fs = to_crash(sregs->fs), crash.gs = to_crash(sregs->gs), crash.ss = to_crash(sregs->ss);
    crash.cs_long = sregs->cs.l != 0;
    crash.cs_big = sregs->cs.db != 0;
    crash.cpl = sregs->cs.selector & 3u;
  }
  return crash;
}

} // namespace slat::vmm
