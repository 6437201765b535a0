// Flushes that another thread asks for while the vCPU runs, and while it sleeps in a stage-2 fault.
#include "machine.hpp"
#include "swapped_memory.hpp"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <semaphore>
#include <thread>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;

constexpr std::uint64_t data_at = SmallMachine::data_at;

std::atomic_ref<std::uint64_t> shared_word(SmallMachine& machine, std::uint64_t at) {
  return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(machine.ram + at));
}

/// Runs on a thread of its own until it is asked to end.
class Running {
 public:
  explicit Running(Cpu& cpu) : cpu_(cpu), thread_([this] { interrupted_ = is_end(cpu_.run()); }) {}

  ~Running() { EXPECT_TRUE(end()); }

  /// Whether it ran until now.
  bool end() {
    if (thread_.joinable()) {
      cpu_.request_exit();
      thread_.join();
    }
    return interrupted_;
  }

 private:
  static bool is_end(const Exit& exit) { return std::holds_alternative<kvm::Interrupted>(exit); }

  Cpu& cpu_;
  bool interrupted_ = false; // by the thread, read after it has ended
  std::thread thread_;
};

TEST(SoftCpuFlush, I36_NothingIsWrittenToTheOldPageAfterwards) {
  SmallMachine machine;
  machine.code({0x48, 0xff, 0x06, 0xeb, 0xfb}); // inc qword [rsi]; jmp to it
  machine.cpu.state().gpr[rsi] = data_at;
  Running running(machine.cpu);
  for (std::uint64_t move = 0; move < 20; ++move) {
    const std::uint64_t from = data_at + move % 2 * 4096, to = data_at + (move + 1) % 2 * 4096;
    const std::uint64_t seen = shared_word(machine, from).load();
    while (shared_word(machine, from).load() == seen) std::this_thread::yield();
    shared_word(machine, SmallMachine::pte(data_at)).store(to | 0x67);
    machine.cpu.flush().wait(machine.cpu.flush().request());
    const std::uint64_t last = shared_word(machine, from).load();
    const std::uint64_t before = shared_word(machine, to).load();
    while (shared_word(machine, to).load() == before) std::this_thread::yield();
    EXPECT_EQ(shared_word(machine, from).load(), last);
  }
}

struct StringCase {
  const char* name;
  int opcode;

  friend void PrintTo(const StringCase& string, std::ostream* out) { *out << string.name; }
};

class SoftCpuLongString : public testing::TestWithParam<StringCase> {};

TEST_P(SoftCpuLongString, I36_AFlushAndAnExitComeThrough) {
  SmallMachine machine;
  // 512 GiB of linear addresses, all of them the same few pages
  constexpr std::uint64_t far_at = 1ULL << 39, tables = 0x50000;
  machine.put(SmallMachine::tables_at + 8, tables + 7);
  for (std::uint64_t i = 0; i < 512; ++i) {
    machine.put(tables + 8 * i, tables + 0x1007);
    machine.put(tables + 0x1000 + 8 * i, tables + 0x2007);
    machine.put(tables + 0x2000 + 8 * i, (data_at + i % 4 * 4096) | 7);
  }
  machine.code({0x48, 0xff, 0x03, 0xf3, GetParam().opcode, 0xf4}); // inc qword [rbx]; rep ...; hlt
  constexpr std::uint64_t count = 1ULL << 38;
  CpuState& state = machine.cpu.state();
  constexpr std::uint64_t begun_at = data_at + 0x8000;
  state.gpr[rbx] = begun_at;
  state.gpr[rsi] = far_at, state.gpr[rdi] = far_at + 4096, state.gpr[rcx] = count;
  {
    Running running(machine.cpu);
    while (shared_word(machine, begun_at).load() == 0) std::this_thread::yield();
    for (int i = 0; i < 20; ++i) machine.cpu.flush().wait(machine.cpu.flush().request());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    machine.cpu.flush().wait(machine.cpu.flush().request());
  }
  EXPECT_EQ(state.rip, SmallMachine::code_at + 3); // in the middle, to go on
  EXPECT_GT(state.gpr[rcx], 0);
  EXPECT_LT(state.gpr[rcx], count);
}

INSTANTIATE_TEST_SUITE_P(Strings, SoftCpuLongString,
                         testing::Values(StringCase{"Movs", 0xa4}, StringCase{"Stos", 0xaa},
                                         StringCase{"Lods", 0xac}, StringCase{"Scas", 0xae},
                                         StringCase{"Cmps", 0xa6}),
                         [](const auto& chosen) { return std::string(chosen.param.name); });

TEST(SoftCpuFlush, I37_DuringAFaultIsOverAtOnceAndTheOldPageIsNotUsedAfterIt) {
  SmallMachine machine;
  // mov rax,[rsi]; mov rcx,[rdi]; mov rdx,[rsi]; hlt
  machine.code({0x48, 0x8b, 0x06, 0x48, 0x8b, 0x0f, 0x48, 0x8b, 0x16, 0xf4});
  machine.put(data_at, 1);
  SwappedMemory memory;
  memory.add(0, machine.ram, 0x60000);
  std::binary_semaphore in_fault{0}, go_on{0};
  memory.on_fault([&](std::uint64_t gpa) {
    if (gpa != data_at + 4096) return;
    in_fault.release();
    go_on.acquire();
  });
  Cpu cpu(memory);
  cpu.state() = machine.cpu.state();
  cpu.state_changed();
  cpu.state().gpr[rsi] = data_at, cpu.state().gpr[rdi] = data_at + 4096;
  std::thread vcpu([&] { EXPECT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run())); });
  in_fault.acquire();
  memory.remove(data_at);
  const std::uint64_t now = 2;
  std::memcpy(memory.content(data_at), &now, sizeof now);
  cpu.flush().wait(cpu.flush().request()); // the fault goes on only after it
  go_on.release();
  vcpu.join();
  EXPECT_EQ(cpu.state().gpr[rax], 1);
  EXPECT_EQ(cpu.state().gpr[rdx], 2);
}

TEST(SoftCpuFlush, AnExitRequestDuringAFaultEndsTheRunBehindIt) {
  SmallMachine machine;
  machine.code({0x48, 0x8b, 0x06, 0xf4}); // mov rax,[rsi]; hlt
  machine.put(data_at, 1);
  SwappedMemory memory;
  memory.add(0, machine.ram, 0x60000);
  Cpu cpu(memory);
  memory.on_fault([&](std::uint64_t gpa) {
    if (gpa == data_at) cpu.request_exit();
  });
  cpu.state() = machine.cpu.state();
  cpu.state_changed();
  cpu.state().gpr[rsi] = data_at;
  EXPECT_TRUE(std::holds_alternative<kvm::Interrupted>(cpu.run()));
  EXPECT_EQ(cpu.state().rip, SmallMachine::code_at);
  EXPECT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run()));
  EXPECT_EQ(cpu.state().gpr[rax], 1);
}

} // namespace
} // namespace slat::test
