// Guest instructions per second of a software vCPU, in a loop like memstress's: fill a page with a pattern, add it
// up, compare; through 4-level page tables. slat_softcpu_bench --benchmark_repetitions=5
#include "flat_memory.hpp"
#include "vmm/softcpu/cpu.hpp"

#include <benchmark/benchmark.h>

namespace {

using namespace slat::vmm::softcpu;

constexpr std::uint64_t code_at = 0x1000, tables_at = 0x10000, data_at = 0x200000,
                        data_bytes = 4 << 20;

// rdi: page, rsi: number of pages
constexpr std::uint8_t program[] = {
    0x48, 0xbb, 0x15, 0x7c, 0x4a, 0x7f, 0xb9, 0x79, 0x37, 0x9e, //  0 mov rbx, 0x9e3779b97f4a7c15
    0x49, 0x89, 0xf8,                                           // 10 start: mov r8, rdi
    0x49, 0x89, 0xf1,                                           // 13 mov r9, rsi
    0x4c, 0x89, 0xc0,                                           // 16 page: mov rax, r8
    0x31, 0xc9,                                                 // 19 xor ecx, ecx
    0x48, 0x01, 0xd8,                                           // 21 fill: add rax, rbx
    0x49, 0x89, 0x04, 0xc8,                                     // 24 mov [r8 + 8 rcx], rax
    0x48, 0xff, 0xc1,                                           // 28 inc rcx
    0x48, 0x81, 0xf9, 0x00, 0x02, 0x00, 0x00,                   // 31 cmp rcx, 512
    0x75, 0xed,                                                 // 38 jne fill
    0x4c, 0x89, 0xc0,                                           // 40 mov rax, r8
    0x31, 0xc9,                                                 // 43 xor ecx, ecx
    0x31, 0xd2,                                                 // 45 xor edx, edx
    0x48, 0x01, 0xd8,                                           // 47 check: add rax, rbx
    0x49, 0x3b, 0x04, 0xc8,                                     // 50 cmp rax, [r8 + 8 rcx]
    0x75, 0x1d,                                                 // 54 jne bad
    0x48, 0x01, 0xc2,                                           // 56 add rdx, rax
    0x48, 0xff, 0xc1,                                           // 59 inc rcx
    0x48, 0x81, 0xf9, 0x00, 0x02, 0x00, 0x00,                   // 62 cmp rcx, 512
    0x75, 0xe8,                                                 // 69 jne check
    0x49, 0x81, 0xc0, 0x00, 0x10, 0x00, 0x00,                   // 71 add r8, 4096
    0x49, 0xff, 0xc9,                                           // 78 dec r9
    0x75, 0xbd,                                                 // 81 jne page
    0xf4,                                                       // 83 hlt
    0xeb, 0xb4,                                                 // 84 jmp start
    0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x0b,                   // 86 .. bad (75): ud2
};

void stress_loop(benchmark::State& bench) {
  slat::test::FlatMemory memory;
  std::memcpy(memory.add(code_at, 4096), program, sizeof program);
  auto* tables = reinterpret_cast<std::uint64_t*>(memory.add(tables_at, 3 * 4096));
  memory.add(data_at, data_bytes);
  constexpr std::uint64_t flags = 7;
  tables[0] = (tables_at + 4096) | flags;
  tables[512] = (tables_at + 8192) | flags;
  for (std::uint64_t i = 0; i < 512; ++i) tables[1024 + i] = i << 21 | flags | 1 << 7;
  Cpu cpu(memory);
  CpuState& state = cpu.state();
  state.cr0 = 0x80010033, state.cr3 = tables_at, state.cr4 = 0x20, state.efer = 0x500;
  state.rip = code_at;
  state.gpr[rdi] = data_at, state.gpr[rsi] = data_bytes / 4096;
  cpu.state_changed();
  std::uint64_t before = cpu.instructions();
  for (auto _ : bench) {
    const Exit exit = cpu.run();
    if (!std::holds_alternative<slat::kvm::Hlt>(exit)) bench.SkipWithError("the guest crashed");
  }
  bench.SetItemsProcessed(static_cast<std::int64_t>(cpu.instructions() - before));
}

BENCHMARK(stress_loop)->Unit(benchmark::kMillisecond);

} // namespace
