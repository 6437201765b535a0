// SmallMachine with a whole GDT, a TSS, and a handler that halts for every vector, so that a test can ask what was
// taken; and with pages of the kernel that ring 3 has no access to, for tests that want them.
#pragma once

#include "machine.hpp"

#include <ostream>
#include <variant>

namespace slat::test {

/// An exception or interrupt as its handler finds it.
struct Taken {
  unsigned vector;
  std::uint64_t error; // 0 where the vector has none
  std::uint64_t rip, cs, rflags, rsp, ss;

  /// Without the frame's registers: what most tests are about.
  friend bool operator==(const Taken& a, const Taken& b) {
    return a.vector == b.vector && a.error == b.error;
  }

  friend std::ostream& operator<<(std::ostream& out, const Taken& taken) {
    return out << std::hex << "vector 0x" << taken.vector << " error 0x" << taken.error
               << " at rip 0x" << taken.rip << std::dec;
  }
};

inline Taken vector_with_error(unsigned vector, std::uint64_t error) {
  return {vector, error, 0, 0, 0, 0, 0};
}

struct SystemMachine : SmallMachine {
  static constexpr std::uint64_t gdt_at = 0x2000, idt_at = 0x3000, task_at = 0x4000,
                                 handlers_at = 0x5000, kernel_stack = 0x7000,
                                 interrupt_stack = 0x9000, // of IST 1
      user_at = 0x9000, user_stack = 0xb000, system_call_at = 0xc000;
  static constexpr std::uint8_t done = 0x80; // int done: how programs that have come through say so
  static constexpr std::uint64_t sent_error_vectors = 0x27d00; // by bit: 8, 10 to 14, 17

  SystemMachine() {
    handle(0, handlers_at);
    put(gdt_at + 0x20, 0x0000890040000067); // the TSS, available
    put(task_at + 0x24, interrupt_stack);
    put(task_at + 0x60, 0xffffULL << 48); // no bitmap of ports
    cpu.state().efer |= vmm::softcpu::efer_syscall;
    for (unsigned vector = 0; vector < 256; ++vector) {
      const bool for_users = vector == 3 || vector == done;
      gate(static_cast<std::uint8_t>(vector), {.dpl = for_users ? 3U : 0U});
      code({0xf4}, handlers_at + 16 * vector);
    }
    cpu.state().task.selector = vmm::task_selector;
  }

  struct Gate {
    unsigned dpl = 0;
    unsigned stack = 0; // IST
    bool present = true;
    std::uint64_t selector = vmm::kernel_code_selector;
    std::uint64_t handler = 0; // 0: the one that halts
  };

  void gate(std::uint8_t vector, const Gate& gate) {
    const std::uint64_t to = gate.handler != 0 ? gate.handler : handlers_at + 16U * vector;
    const std::uint64_t access = (gate.present ? 0x80U : 0U) | gate.dpl << 5 | 0xe;
    put(idt_at + vector * 16U, (to & 0xffff) | gate.selector << 16 |
                                   std::uint64_t{gate.stack} << 32 | access << 40 |
                                   (to >> 16 & 0xffff) << 48);
    put(idt_at + vector * 16U + 8, to >> 32);
  }

  /// What the kernel uses is the supervisor's: pages below user_at.
  void protect() {
    for (std::uint64_t page = 0; page < user_at; page += 4096) put(pte(page), page | 3);
  }

  void enter_ring3(std::uint64_t rip = user_at) {
    vmm::softcpu::CpuState& state = cpu.state();
    state.cpl = 3;
    state.segments[vmm::softcpu::cs] = vmm::user_code;
    state.segments[vmm::softcpu::ss] = vmm::user_data;
    state.rip = rip;
    state.gpr[vmm::softcpu::rsp] = user_stack;
    cpu.state_changed();
  }

  /// Runs to the handler of a vector. Vector 256: it did not come there.
  Taken take() {
    const vmm::softcpu::Exit exit = cpu.run();
    return std::holds_alternative<kvm::Hlt>(exit) ? taken(cpu.state()) : no_vector;
  }

  Taken taken(const vmm::softcpu::CpuState& state) const {
    const std::uint64_t offset = state.rip - handlers_at - 1;
    if (offset % 16 != 0 || offset >= 4096) return no_vector;
    Taken taken{};
    taken.vector = static_cast<unsigned>(offset / 16);
    std::uint64_t frame = state.gpr[vmm::softcpu::rsp];
    if (taken.vector < 32 && (sent_error_vectors >> taken.vector & 1) != 0) {
      taken.error = get(frame);
      frame += 8;
    }
    taken.rip = get(frame), taken.cs = get(frame + 8), taken.rflags = get(frame + 16);
    taken.rsp = get(frame + 24), taken.ss = get(frame + 32);
    return taken;
  }

  static constexpr Taken no_vector{256, 0, 0, 0, 0, 0, 0};
};

} // namespace slat::test
