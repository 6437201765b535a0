// Software vCPUs over our own stage-2: what a shootdown may and may not wait for (I36, I37), and faults.
#include "lock_count.hpp"
#include "mmu/stage2/checker.hpp"
#include "vmm/boot_tables.hpp"
#include "vmm/layout.hpp"
#include "vmm/soft_memory.hpp"
#include "vmm/softcpu/setup.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <gtest/gtest.h>
#include <initializer_list>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

using mmu::Advice;
using softcpu::Cpu;

/// True as soon as the condition holds; false if it does not within 20 s.
template <class Condition> bool eventually(Condition condition) {
  for (int i = 0; i < 20000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

class SoftMemoryTest : public testing::Test {
 protected:
  // Each in another entry of the TLB.
  static constexpr Gpa code = 4 * mib, a = 8 * mib + 3 * mmu::page_size,
                       b = 12 * mib + 5 * mmu::page_size;

  void SetUp() override {
    mmu::AddressSpaceOptions options;
    if (const char* const name = std::getenv("SLAT_TEST_VMA_LOCK"))
      options.vma_lock = mmu::vma_lock_design(name).value();
    ram = std::move(GuestRam::create(16 * mib, options, counters).value());
    memory = std::move(SoftMemory::create(*ram, 1).value());
    entry = write_boot_tables(*ram, code).value();
  }

  void TearDown() override {
    EXPECT_TRUE(mmu::stage2::check_table(memory->table()));
    memory.reset(); // before the vCPUs, to which it sends flushes
  }

  /// A vCPU at `code`, with rsi = a and rdi = b.
  Cpu& add_vcpu() {
    cpus.push_back(std::make_unique<Cpu>(memory->add_view()));
    Cpu& cpu = *cpus.back();
    softcpu::set_entry_state(cpu, entry);
    cpu.state().gpr[softcpu::rsi] = a;
    cpu.state().gpr[softcpu::rdi] = b;
    memory->add_vcpu(cpu.flush());
    return cpu;
  }

  void program(std::initializer_list<int> bytes) {
    std::vector<std::byte> image;
    for (const int byte : bytes) image.push_back(std::byte(byte));
    ASSERT_TRUE(ram->write(code, image));
  }

  void put(Gpa at, std::uint64_t value) {
    ASSERT_TRUE(ram->write(at, std::as_bytes(std::span(&value, 1))));
  }

  void advise(Gpa at, std::uint64_t length, Advice advice) {
    ASSERT_TRUE(ram->mm().advise(ram->guest_view_of(at).value(), length, advice));
  }

  [[nodiscard]] bool mapped(Gpa at) const { return memory->table().translate(at).has_value(); }

  mmu::Counters counters;
  std::unique_ptr<GuestRam> ram;
  std::vector<std::unique_ptr<Cpu>> cpus;
  std::unique_ptr<SoftMemory> memory;
  EntryState entry{};
};

TEST_F(SoftMemoryTest, FaultsEndInTheTableWithAccessedAndDirty) {
  program({0x48, 0x8b, 0x06, 0x48, 0x89, 0x07, 0xf4}); // mov rax,[rsi]; mov [rdi],rax; hlt
  put(a, 77);
  Cpu& cpu = add_vcpu();
  EXPECT_FALSE(mapped(a));
  EXPECT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run()));
  EXPECT_EQ(cpu.state().gpr[softcpu::rax], 77u);
  ASSERT_TRUE(mapped(a) && mapped(b));
  EXPECT_FALSE(memory->table().translate(a)->dirty) << "only read";
  EXPECT_TRUE(memory->table().translate(b)->dirty);
  std::uint64_t found = 0;
  ASSERT_TRUE(ram->read(b, std::as_writable_bytes(std::span(&found, 1))));
  EXPECT_EQ(found, 77u);
  EXPECT_EQ(memory->fault_count(), cpu.stage2_faults());
}

TEST_F(SoftMemoryTest, FaultOnAPresentPageTakesNoLock) {
  if (!test::lock_count_works()) GTEST_SKIP() << "a sanitizer has the locks";
  program({0x48, 0x8b, 0x06, 0x48, 0x89, 0x07, 0xf4}); // mov rax,[rsi]; mov [rdi],rax; hlt
  Cpu& cpu = add_vcpu();
  ASSERT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run()));
  for (const Gpa at : {code, a, b}) advise(at, mmu::page_size, Advice::dontneed);
  cpu.state().rip = code;
  const std::uint64_t faults = cpu.stage2_faults();
  const std::uint64_t locks = test::locks_taken();
  ASSERT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run()));
  EXPECT_EQ(cpu.stage2_faults(), faults + 3);
  // The baseline design is the one with a lock: once for each fault.
  const std::uint64_t allowed = ram->mm().vma_lock() == mmu::VmaLockDesign::mmap_lock ? 3 : 0;
  EXPECT_EQ(test::locks_taken() - locks, allowed);
}

TEST_F(SoftMemoryTest, WhatIsNoMemoryIsADevice) {
  program({0x48, 0x8b, 0x06, 0xf4}); // mov rax,[rsi]; hlt
  Cpu& cpu = add_vcpu();
  cpu.state().gpr[softcpu::rsi] = 32 * mib;
  const softcpu::Exit exit = cpu.run();
  ASSERT_TRUE(std::holds_alternative<kvm::MmioRead>(exit));
  EXPECT_EQ(std::get<kvm::MmioRead>(exit).gpa, 32 * mib);
}

TEST_F(SoftMemoryTest, WhatCannotBeHadEndsTheRunWithTheReason) {
  program({0x48, 0x8b, 0x06, 0xf4}); // mov rax,[rsi]; hlt
  Cpu& cpu = add_vcpu();
  ASSERT_TRUE(ram->mm().unmap(ram->guest_view_of(a).value(), mmu::page_size));
  const softcpu::Exit exit = cpu.run();
  ASSERT_TRUE(std::holds_alternative<softcpu::MemoryFailed>(exit));
  EXPECT_EQ(std::get<softcpu::MemoryFailed>(exit).gpa, a);
  EXPECT_EQ(std::get<softcpu::MemoryFailed>(exit).why, mmu::FaultResult::no_vma);
}

TEST_F(SoftMemoryTest, I36_I37_VcpuParkedInASlowFaultHoldsNoFlushUpAndUsesNothingFromBefore) {
  // mov rax,[rsi]; mov rbx,[rdi]; mov rcx,[rsi]; hlt
  program({0x48, 0x8b, 0x06, 0x48, 0x8b, 0x1f, 0x48, 0x8b, 0x0e, 0xf4});
  put(a, 1);
  put(b, 2);
  Cpu& cpu = add_vcpu();
  ASSERT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run())); // all of it is in the TLB
  advise(b, mmu::page_size, Advice::dontneed);
  cpu.state().rip = code;
  const std::uint64_t before = memory->fault_count();
  std::thread vcpu;
  {
    const std::uintptr_t view = ram->guest_view_of(b).value();
    auto slow = ram->mm().notifiers().invalidate_range_start(
        {view, view + mmu::page_size, mmu::InvalidateEvent::reclaim});
    ASSERT_TRUE(slow);
    vcpu = std::thread([&] { EXPECT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run())); });
    // rax is read; the fault on b waits for the range above.
    ASSERT_TRUE(eventually([&] { return counters.sum(mmu::Counter::fault_wait_count) != 0; }));
    ASSERT_EQ(memory->fault_count(), before + 1);
    // Ends although the vCPU is in the fault: the test's time limit is the assertion (I37).
    advise(a, mmu::page_size, Advice::remove);
    EXPECT_FALSE(mapped(a));
  }
  vcpu.join();
  EXPECT_EQ(cpu.state().gpr[softcpu::rax], 1u) << "before it parked";
  EXPECT_EQ(cpu.state().gpr[softcpu::rbx], 2u);
  EXPECT_EQ(cpu.state().gpr[softcpu::rcx], 0u) << "removed meanwhile";
  EXPECT_EQ(memory->fault_count(), before + 2) << "a was reached by an old translation (I36)";
}

TEST_F(SoftMemoryTest, I36_RunningVcpuDropsATranslationBeforeTheFlushIsOver) {
  program({0x48, 0xff, 0x06, 0xeb, 0xfb}); // again: inc qword [rsi]; jmp again
  Cpu& cpu = add_vcpu();
  std::thread vcpu([&] { EXPECT_TRUE(std::holds_alternative<kvm::Interrupted>(cpu.run())); });
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(eventually([&] { return mapped(a); }));
    const std::uint64_t before = memory->fault_count();
    advise(a, mmu::page_size, i % 2 == 0 ? Advice::dontneed : Advice::remove);
    // With an old translation it would go on without ever asking again.
    ASSERT_TRUE(eventually([&] { return memory->fault_count() > before; })) << "round " << i;
  }
  cpu.request_exit();
  vcpu.join();
}

TEST_F(SoftMemoryTest, I36_DirtyLogMissesNoWriteOfARunningVcpu) {
  // again: inc qword [rsi]; inc qword [rdi]; jmp again
  program({0x48, 0xff, 0x06, 0x48, 0xff, 0x07, 0xeb, 0xf8});
  Cpu& cpu = add_vcpu();
  std::thread vcpu([&] { EXPECT_TRUE(std::holds_alternative<kvm::Interrupted>(cpu.run())); });
  ASSERT_TRUE(eventually([&] { return mapped(a) && mapped(b); }));
  const auto value_of = [&](Gpa at) {
    std::uint64_t value = 0;
    EXPECT_TRUE(ram->read(at, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  };
  std::vector<std::uint64_t> bits(16 * mib / mmu::page_size / 64);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t before = value_of(a);
    ASSERT_TRUE(eventually([&] { return value_of(a) > before + 2; }));
    memory->table().read_dirty(0, 16 * mib, bits);
    for (const Gpa page : {a, b})
      EXPECT_TRUE(bits[page / mmu::page_size / 64] >> (page / mmu::page_size % 64) & 1)
          << "written, and in no log: round " << i;
  }
  cpu.request_exit();
  vcpu.join();
}

TEST_F(SoftMemoryTest, FaultsOfManyVcpusOnTheSamePagesLoseNoIncrement) {
  // mov ecx,20000; again: lock inc qword [rsi]; lock inc qword [rdi]; dec ecx; jnz again; hlt
  program({0xb9, 0x20, 0x4e, 0, 0, 0xf0, 0x48, 0xff, 0x06, 0xf0, 0x48, 0xff, 0x07, 0xff, 0xc9, 0x75,
           0xf4, 0xf4});
  constexpr unsigned vcpus = 3;
  for (unsigned i = 0; i < vcpus; ++i) add_vcpu();
  std::atomic<unsigned> running{vcpus};
  std::vector<std::thread> threads;
  for (const auto& cpu : cpus)
    threads.emplace_back([&running, &cpu = *cpu] {
      EXPECT_TRUE(std::holds_alternative<kvm::Hlt>(cpu.run()));
      --running;
    });
  while (running != 0) {
    advise(a, mmu::page_size, Advice::dontneed);
    advise(b, mmu::page_size, Advice::dontneed);
  }
  for (std::thread& thread : threads) thread.join();
  for (const Gpa at : {a, b}) {
    std::uint64_t found = 0;
    ASSERT_TRUE(ram->read(at, std::as_writable_bytes(std::span(&found, 1))));
    EXPECT_EQ(found, vcpus * 20000u);
  }
}

} // namespace
} // namespace slat::vmm
