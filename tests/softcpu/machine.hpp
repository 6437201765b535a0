// A software vCPU in 64-bit mode at CPL 0 with code, a stack, data and page tables, for small programs.
#pragma once

#include "flat_memory.hpp"
#include "vmm/boot_tables.hpp"
#include "vmm/softcpu/cpu.hpp"

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace slat::test {

/// Linear addresses are guest physical ones, by 4 KiB pages below 2 MiB; all is writable and user.
struct SmallMachine {
  static constexpr std::uint64_t code_at = 0x1000, stack_top = 0x8000, data_at = 0x10000,
                                 tables_at = 0x40000, leaf_at = tables_at + 0x3000,
                                 device_at = 0x180000;

  SmallMachine() : cpu(memory) {
    ram = memory.add(0, 0x100000);
    put(tables_at, tables_at + 0x1007);
    put(tables_at + 0x1000, tables_at + 0x2007);
    put(tables_at + 0x2000, leaf_at + 7);
    for (std::uint64_t i = 0; i < 512; ++i) put(leaf_at + 8 * i, i << 12 | 7);
    vmm::softcpu::CpuState& state = cpu.state();
    state.cr0 = 0x80010033, state.cr3 = tables_at, state.cr4 = 0x20, state.efer = 0xd00;
    state.segments.fill(vmm::kernel_data);
    state.segments[vmm::softcpu::cs] = vmm::kernel_code;
    state.rip = code_at;
    state.gpr[vmm::softcpu::rsp] = stack_top;
    cpu.state_changed();
  }

  void code(std::initializer_list<int> bytes, std::uint64_t at = code_at) {
    for (const int byte : bytes) ram[at++] = static_cast<std::byte>(byte);
  }

  void code(const std::vector<int>& bytes, std::uint64_t at = code_at) {
    for (const int byte : bytes) ram[at++] = static_cast<std::byte>(byte);
  }

  void put(std::uint64_t at, std::uint64_t value) { std::memcpy(ram + at, &value, 8); }

  [[nodiscard]] std::uint64_t get(std::uint64_t at) const {
    std::uint64_t value;
    std::memcpy(&value, ram + at, 8);
    return value;
  }

  /// Its page's entry in the page table.
  [[nodiscard]] static std::uint64_t pte(std::uint64_t linear) {
    return leaf_at + linear / 4096 * 8;
  }

  /// A GDT at 0x2000 with the selectors of boot_tables.hpp, an IDT at 0x3000 whose `vector` goes to `handler`.
  void handle(std::uint8_t vector, std::uint64_t handler) {
    put(0x2010, 0x00af9b000000ffff); // kernel code
    put(0x2018, 0x00cf93000000ffff); // kernel data
    put(0x2030, 0x00cff3000000ffff); // user data
    put(0x2038, 0x00affb000000ffff); // user code
    cpu.state().gdt = {0x2000, 0x3f};
    cpu.state().idt = {0x3000, 0xfff};
    put(0x3000 + vector * 16U, (handler & 0xffff) | 0x10ULL << 16 | 0xee00ULL << 32);
    cpu.state().task.base = 0x4000;
    cpu.state().task.limit = 0x67;
    put(0x4004, 0x7000); // rsp0
  }

  FlatMemory memory;
  std::byte* ram = nullptr;
  vmm::softcpu::Cpu cpu;
};

} // namespace slat::test
