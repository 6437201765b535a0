// A software vCPU over its stage-2 table: what a fault on a page costs that the host has already, beyond the access
// itself; and what a second vCPU brings. Pairs within one run; the counters are medians.
//   slat_softcpu_bench --benchmark_filter='fault|vcpus'
#include "vmm/boot_tables.hpp"
#include "vmm/layout.hpp"
#include "vmm/soft_memory.hpp"
#include "vmm/softcpu/setup.hpp"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <initializer_list>
#include <memory>
#include <thread>
#include <vector>

namespace {

using namespace slat;
using namespace slat::vmm;
using Clock = std::chrono::steady_clock;

double nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct SoftMachine {
  static constexpr Gpa code = 1 * mib, data = 4 * mib;

  SoftMachine(std::uint64_t size, unsigned vcpus, std::initializer_list<int> program) {
    ram = std::move(GuestRam::create(size, {}, counters).value());
    memory = std::move(SoftMemory::create(*ram, 1).value());
    const EntryState entry = write_boot_tables(*ram, code).value();
    std::vector<std::byte> image;
    for (const int byte : program) image.push_back(std::byte(byte));
    (void)ram->write(code, image);
    for (unsigned i = 0; i < vcpus; ++i) {
      cpus.push_back(std::make_unique<softcpu::Cpu>(memory->add_view()));
      softcpu::set_entry_state(*cpus.back(), entry);
      memory->add_vcpu(cpus.back()->flush());
    }
  }

  ~SoftMachine() { memory.reset(); } // before the vCPUs

  /// From the start of the program to its hlt.
  double run(unsigned vcpu, std::uint64_t address, std::uint64_t count) {
    softcpu::Cpu& cpu = *cpus[vcpu];
    cpu.state().rip = code;
    cpu.state().gpr[softcpu::rsi] = address;
    cpu.state().gpr[softcpu::rcx] = count;
    const auto start = Clock::now();
    if (!std::holds_alternative<kvm::Hlt>(cpu.run())) std::abort();
    return nanoseconds_since(start);
  }

  mmu::Counters counters;
  std::unique_ptr<GuestRam> ram;
  std::vector<std::unique_ptr<softcpu::Cpu>> cpus;
  std::unique_ptr<SoftMemory> memory;
};

// again: mov rax,[rsi]; add rsi,4096; dec rcx; jnz again; hlt
const std::initializer_list<int> touch_pages = {0x48, 0x8b, 0x06, 0x48, 0x81, 0xc6, 0x00, 0x10,
                                                0x00, 0x00, 0x48, 0xff, 0xc9, 0x75, 0xf1, 0xf4};

void fault_on_a_present_page(benchmark::State& bench) {
  constexpr std::uint64_t pages = 1024;
  SoftMachine machine(64 * mib, 1, touch_pages);
  const std::uintptr_t view = machine.ram->guest_view_of(SoftMachine::data).value();
  machine.run(0, SoftMachine::data, pages); // the host has them from now on
  std::vector<double> without, with, beyond;
  for (auto _ : bench) {
    machine.cpus[0]->state_changed(); // an empty TLB, as after the zap
    without.push_back(machine.run(0, SoftMachine::data, pages) / pages);
    if (!machine.ram->mm().advise(view, pages * mmu::page_size, mmu::Advice::dontneed))
      std::abort();
    with.push_back(machine.run(0, SoftMachine::data, pages) / pages);
    beyond.push_back(with.back() - without.back());
    bench.SetIterationTime(with.back() * pages * 1e-9);
  }
  bench.counters["ns_access"] = median(without);
  bench.counters["ns_access_and_fault"] = median(with);
  bench.counters["ns_fault_beyond"] = median(beyond);
}

BENCHMARK(fault_on_a_present_page)->UseManualTime()->Unit(benchmark::kMillisecond);

// again: mov rax,[rsi + 8 * rcx]; add rax,rcx; mov [rsi + 8 * rcx],rax; dec rcx; jnz again; hlt
const std::initializer_list<int> add_words = {0x48, 0x8b, 0x04, 0xce, 0x48, 0x01, 0xc8, 0x48, 0x89,
                                              0x04, 0xce, 0x48, 0xff, 0xc9, 0x75, 0xf0, 0xf4};

void two_vcpus_against_one(benchmark::State& bench) {
  constexpr std::uint64_t words = 2 * mib / 8 - 1;
  SoftMachine machine(64 * mib, 2, add_words);
  const auto work = [&](unsigned vcpu) {
    for (int i = 0; i < 8; ++i) machine.run(vcpu, SoftMachine::data + vcpu * 4 * mib, words);
  };
  std::vector<double> rate, ratio;
  for (auto _ : bench) {
    const std::uint64_t before = machine.cpus[0]->instructions();
    auto start = Clock::now();
    work(0);
    const double one = nanoseconds_since(start);
    rate.push_back(double(machine.cpus[0]->instructions() - before) / one * 1e9);
    start = Clock::now();
    std::thread other([&] { work(1); });
    work(0);
    other.join();
    const double two = nanoseconds_since(start);
    ratio.push_back(2 * one / two);
    bench.SetIterationTime((one + two) * 1e-9);
  }
  bench.counters["instructions_per_s_of_one"] = median(rate);
  bench.counters["two_to_one"] = median(ratio);
}

BENCHMARK(two_vcpus_against_one)->UseManualTime()->Unit(benchmark::kMillisecond);

} // namespace
