// Several software vCPUs on one memory: locked operations, whose counters must add up.
#include "machine.hpp"

#include <algorithm>
#include <atomic>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace slat::test {
namespace {

using namespace slat::vmm::softcpu;

constexpr std::uint64_t data_at = SmallMachine::data_at;

/// vCPUs with the registers of machine.cpu, each on a thread of its own. Each must come to a hlt.
class Threads {
 public:
  Threads(SmallMachine& machine, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      cpus_.push_back(std::make_unique<Cpu>(machine.memory));
      cpus_.back()->state() = machine.cpu.state();
      cpus_.back()->state_changed();
    }
  }

  CpuState& state(std::size_t i) { return cpus_[i]->state(); }

  void run() {
    std::atomic<unsigned> ready{0}, halted{0};
    std::vector<std::thread> threads;
    for (const auto& cpu : cpus_) {
      threads.emplace_back([&] {
        ready.fetch_add(1);
        while (ready.load() < cpus_.size()) std::this_thread::yield(); // begin together
        if (std::holds_alternative<kvm::Hlt>(cpu->run())) halted.fetch_add(1);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(halted.load(), cpus_.size());
  }

 private:
  std::vector<std::unique_ptr<Cpu>> cpus_;
};

class SoftCpuShared : public testing::TestWithParam<unsigned> {};

constexpr std::uint64_t rounds = 100000;

TEST_P(SoftCpuShared, XaddGivesEachItsOwnNumber) {
  SmallMachine machine;
  // mov eax,1; lock xadd [rbx],rax; add rsi,rax; dec ecx; jne; hlt
  machine.code({0xb8, 1, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xc1, 0x03, 0x48, 0x01, 0xc6, 0xff, 0xc9, 0x75,
                0xef, 0xf4});
  machine.cpu.state().gpr[rbx] = data_at + 40;
  machine.cpu.state().gpr[rcx] = rounds;
  Threads threads(machine, GetParam());
  threads.run();
  const std::uint64_t all = rounds * GetParam();
  EXPECT_EQ(machine.get(data_at + 40), all);
  std::uint64_t sum = 0; // of the numbers that were given out
  for (unsigned i = 0; i < GetParam(); ++i) sum += threads.state(i).gpr[rsi];
  EXPECT_EQ(sum, all * (all - 1) / 2);
}

TEST_P(SoftCpuShared, CmpxchgLosesNoUpdate) {
  SmallMachine machine;
  // 2: mov rax,[rbx]; 1: lea rdx,[rax + 1]; lock cmpxchg [rbx],rdx; jne 1b; dec ecx; jne 2b; hlt
  machine.code({0x48, 0x8b, 0x03, 0x48, 0x8d, 0x50, 0x01, 0xf0, 0x48, 0x0f, 0xb1, 0x13, 0x75, 0xf5,
                0xff, 0xc9, 0x75, 0xee, 0xf4});
  machine.cpu.state().gpr[rbx] = data_at;
  machine.cpu.state().gpr[rcx] = rounds;
  Threads threads(machine, GetParam());
  threads.run();
  EXPECT_EQ(machine.get(data_at), rounds * GetParam());
}

TEST_P(SoftCpuShared, Cmpxchg16bChangesBothHalvesAtOnce) {
  SmallMachine machine;
  // 2: mov rax,[rsi]; mov rdx,[rsi + 8]; 1: lea rbx,[rax + 1]; lea rcx,[rdx + 2]; lock cmpxchg16b [rsi]; jne 1b;
  // dec edi; jne 2b; hlt
  machine.code({0x48, 0x8b, 0x06, 0x48, 0x8b, 0x56, 0x08, 0x48, 0x8d, 0x58, 0x01, 0x48, 0x8d, 0x4a,
                0x02, 0xf0, 0x48, 0x0f, 0xc7, 0x0e, 0x75, 0xf1, 0xff, 0xcf, 0x75, 0xe6, 0xf4});
  machine.cpu.state().gpr[rsi] = data_at + 16;
  machine.cpu.state().gpr[rdi] = rounds;
  Threads threads(machine, GetParam());
  threads.run();
  EXPECT_EQ(machine.get(data_at + 16), rounds * GetParam());
  EXPECT_EQ(machine.get(data_at + 24), 2 * rounds * GetParam());
}

TEST_P(SoftCpuShared, NeighboursOfAnUnalignedLockedOperationKeepTheirs) {
  SmallMachine machine;
  // lock add word [rbx],1; dec ecx; jne; hlt: each vCPU at another odd address of the same word
  machine.code({0x66, 0xf0, 0x83, 0x03, 0x01, 0xff, 0xc9, 0x75, 0xf7, 0xf4});
  machine.cpu.state().gpr[rcx] = rounds;
  Threads threads(machine, GetParam());
  for (unsigned i = 0; i < GetParam(); ++i) // 1, 3, 5 in the first word
    threads.state(i).gpr[rbx] = data_at + 1 + 2 * (i % 3);
  threads.run();
  for (unsigned place = 0; place < 3; ++place) {
    std::uint64_t wanted = 0;
    for (unsigned i = place; i < GetParam(); i += 3) wanted += rounds;
    EXPECT_EQ(machine.get(data_at + 1 + 2 * place) & 0xffff, wanted & 0xffff);
  }
}

TEST_P(SoftCpuShared, ALockOfXchgExcludes) {
  SmallMachine machine;
  // 1: mov eax,1; 2: xchg [rbx],eax; test eax,eax; jne 2b (here 1b); inc qword [rbx + 8]; mov dword [rbx],0; dec ecx;
  // jne 1b; hlt
  machine.code({0xb8, 0x01, 0x00, 0x00, 0x00, 0x87, 0x03, 0x85, 0xc0, 0x75, 0xf5, 0x48, 0xff,
                0x43, 0x08, 0xc7, 0x03, 0x00, 0x00, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xe7, 0xf4});
  machine.cpu.state().gpr[rbx] = data_at;
  machine.cpu.state().gpr[rcx] = rounds / 10; // who is preempted with the lock stops all others
  Threads threads(machine, GetParam());
  threads.run();
  EXPECT_EQ(machine.get(data_at + 8), rounds / 10 * GetParam());
}

INSTANTIATE_TEST_SUITE_P(Cpus, SoftCpuShared, testing::Values(2, 3, 4));

} // namespace
} // namespace slat::test
