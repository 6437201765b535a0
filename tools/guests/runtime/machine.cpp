// From the entry at CPL 0 to guest_main at CPL 3. CPL 0 is kept short: there are hosts that emulate
// it.
#include "guests/runtime/machine.hpp"

#include "guests/abi.hpp"
#include "guests/runtime/io.hpp"
#include "guests/runtime/layout.h"
#include "guests/runtime/print.hpp"

#include <cstddef>

namespace slat::guest {
namespace {

// Selectors. Kernel code and data are where the boot protocol has them; user data precedes user
// code.
constexpr std::uint16_t kernel_code = 0x10, user_data = 0x20 | 3, user_code = 0x28 | 3,
                        tss_selector = 0x30;
constexpr std::uint64_t rflags_iopl3 = 0x3002; // IOPL 3, interrupts off, the bit that is always set

struct Gate {
  std::uint64_t low, high;
};

struct [[gnu::packed]] TableRegister {
  std::uint16_t limit;
  std::uint64_t base;
};

Gate idt[SLAT_STUB_COUNT];

std::uint64_t address_of(const void* object) {
  return reinterpret_cast<std::uint64_t>(object);
}

} // namespace

// Named, because start.S reaches them.
struct [[gnu::packed]] Tss {
  std::uint32_t reserved0;
  std::uint64_t rsp[3];
  std::uint64_t reserved1;
  std::uint64_t ist[7];
  std::uint64_t reserved2;
  std::uint16_t reserved3;
  std::uint16_t io_map_offset;
  // Ports 0 to 0x3ff, all allowed, and the byte of ones that must follow. IOPL 3 would do by the
  // book; there are hosts whose emulation loses it on the way through iretq and asks this map.
  std::uint8_t io_map[128];
  std::uint8_t io_map_end;
};

static_assert(offsetof(Tss, io_map) == 104 && exit_port < 0x400 && serial_lsr_port < 0x400);

struct alignas(SLAT_AREA_SIZE) Area {
  std::byte ring3_stack[SLAT_RING3_STACK_TOP];
  std::byte ring0_stack[SLAT_RING0_STACK_TOP - SLAT_RING3_STACK_TOP];
  std::uint64_t gdt[8];
  Tss tss;
  Boot boot;
};

static_assert(sizeof(Area) == SLAT_AREA_SIZE && offsetof(Area, gdt) == SLAT_RING0_STACK_TOP);

struct Frame { // what the stubs leave on the stack
  std::uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

} // namespace slat::guest

extern "C" {
extern const char slat_exception_stubs[];
slat::guest::Area slat_areas[SLAT_GUEST_VCPUS];
[[noreturn]] void slat_start_vcpu(std::uint64_t vcpu, const slat::guest::BootParams* params,
                                  std::uint64_t count);
[[noreturn]] void slat_exception(const slat::guest::Frame* frame);
}

namespace slat::guest {
namespace {

void load_gdt(Area& area) {
  const std::uint64_t base = address_of(&area.tss);
  constexpr std::uint64_t limit = sizeof(Tss) - 1;
  area.gdt[2] = 0x00af9b000000ffff; // kernel code, long mode
  area.gdt[3] = 0x00cf93000000ffff; // kernel data
  area.gdt[4] = 0x00cff3000000ffff; // user data
  area.gdt[5] = 0x00affb000000ffff; // user code, long mode
  area.gdt[6] =
      limit | (base & 0xffffff) << 16 | std::uint64_t{0x89} << 40 | (base >> 24 & 0xff) << 56;
  area.gdt[7] = base >> 32;
  area.tss.rsp[0] = address_of(area.gdt); // the top of the ring-0 stack
  area.tss.io_map_offset = offsetof(Tss, io_map);
  area.tss.io_map_end = 0xff;
  const TableRegister gdtr{sizeof area.gdt - 1, address_of(area.gdt)};
  asm volatile("lgdt %0\n\tltr %1" : : "m"(gdtr), "r"(tss_selector) : "memory");
}

// One table for all vCPUs: each writes the same values.
void load_idt() {
  for (std::size_t i = 0; i < SLAT_STUB_COUNT; ++i) {
    const std::uint64_t stub = address_of(slat_exception_stubs) + i * SLAT_STUB_SIZE;
    constexpr std::uint64_t present_gate = 0x8e00;
    store_relaxed(idt[i].low, (stub & 0xffff) | std::uint64_t{kernel_code} << 16 |
                                  present_gate << 32 | (stub >> 16 & 0xffff) << 48);
    store_relaxed(idt[i].high, stub >> 32);
  }
  const TableRegister idtr{sizeof idt - 1, address_of(idt)};
  asm volatile("lidt %0" : : "m"(idtr));
}

std::uint64_t read_tsc_khz() {
  std::uint32_t eax = cpuid_tsc_leaf, ebx = 0, ecx = 0, edx = 0;
  asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return eax >= tsc_khz_min && eax <= tsc_khz_max ? eax : 0;
}

[[noreturn]] void enter_main(const Boot* boot) {
  guest_main(*boot);
}

[[noreturn]] void enter_ring3(const Area& area) {
  const std::uint64_t stack =
      address_of(area.ring0_stack) - 8; // as if called: 8 below a multiple of 16
  asm volatile(
      "movl %[data], %%ds\n\t"
      "movl %[data], %%es\n\t"
      "pushq %q[data]\n\t"
      "pushq %[stack]\n\t"
      "pushq %[flags]\n\t"
      "pushq %[code]\n\t"
      "pushq %[entry]\n\t"
      "iretq"
      :
      : [data] "r"(std::uint32_t{user_data}), [stack] "r"(stack), [flags] "i"(rflags_iopl3),
        [code] "i"(std::uint32_t{user_code}), [entry] "r"(&enter_main), "D"(&area.boot)
      : "memory");
  __builtin_unreachable();
}

const char* name_of(std::uint64_t vector) {
  switch (vector) {
  case 0:
    return " (divide error)";
  case 6:
    return " (invalid opcode)";
  case 8:
    return " (double fault)";
  case 13:
    return " (general protection)";
  case 14:
    return " (page fault)";
  default:
    return "";
  }
}

} // namespace

unsigned BootParams::e820_count() const {
  return *(reinterpret_cast<const volatile std::uint8_t*>(this) + 0x1e8);
}

const BootParams::E820Entry* BootParams::e820() const {
  return reinterpret_cast<const E820Entry*>(reinterpret_cast<const char*>(this) + 0x2d0);
}

Text BootParams::command_line() const {
  const auto* base = reinterpret_cast<const char*>(this);
  const std::uint64_t low = *reinterpret_cast<const volatile std::uint32_t*>(base + 0x228);
  const std::uint64_t high = *reinterpret_cast<const volatile std::uint32_t*>(base + 0xc8);
  const auto* text =
      reinterpret_cast<const char*>(high << 32 | low); // NOLINT(performance-no-int-to-ptr)
  std::size_t size = 0;
  while (text != nullptr && size < 4095 && text[size] != '\0') ++size;
  return {text, size};
}

void exit_machine(std::uint32_t code) {
  out32(exit_port, code);
  for (;;) pause(); // nobody listens
}

void drop_exception_handlers() {
  for (Gate& gate : idt) store_relaxed(gate.low, std::uint64_t{0});
}

} // namespace slat::guest

void slat_start_vcpu(std::uint64_t vcpu, const slat::guest::BootParams* params,
                     std::uint64_t count) {
  using namespace slat::guest;
  Area& area = slat_areas[vcpu];
  load_gdt(area);
  load_idt();
  std::uint64_t cr3 = 0, cr4 = 0;
  asm volatile("movq %%cr3, %0\n\tmovq %%cr4, %1" : "=r"(cr3), "=r"(cr4));
  constexpr std::uint64_t la57 = 1 << 12;
  area.boot = {params,
               read_tsc_khz(),
               cr3 & ~(page_size - 1),
               (cr4 & la57) != 0 ? 5u : 4u,
               static_cast<std::uint32_t>(vcpu),
               static_cast<std::uint32_t>(count)};
  enter_ring3(area);
}

void slat_exception(const slat::guest::Frame* frame) {
  using namespace slat::guest;
  std::uint64_t cr2 = 0;
  asm volatile("movq %%cr2, %0" : "=r"(cr2));
  const std::uint64_t offset = address_of(frame) - address_of(slat_areas);
  const std::uint64_t vcpu = offset / sizeof(Area);
  guest_crashed(static_cast<std::uint32_t>(vcpu));
  print_line("slat guest: exception ", frame->vector, name_of(frame->vector), " on vCPU ", vcpu,
             ": rip ", Hex{frame->rip}, ", rsp ", Hex{frame->rsp}, ", cs ", Hex{frame->cs},
             ", rflags ", Hex{frame->rflags}, ", error ", Hex{frame->error}, ", cr2 ", Hex{cr2});
  exit_machine(exit_exception);
}
