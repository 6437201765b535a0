// The own guests, whole, on software vCPUs: one thread each, over plain memory.
#include "flat_memory.hpp"
#include "guests/builtin.hpp"
#include "vmm/boot_params.hpp"
#include "vmm/boot_tables.hpp"
#include "vmm/debug_exit.hpp"
#include "vmm/elf_loader.hpp"
#include "vmm/layout.hpp"
#include "vmm/port_bus.hpp"
#include "vmm/serial.hpp"
#include "vmm/softcpu/setup.hpp"

#include <atomic>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace slat::test {
namespace {

using namespace slat::vmm;
using softcpu::Cpu;
using testing::HasSubstr;

class FlatGuestMemory final : public GuestMemory {
 public:
  FlatGuestMemory(FlatMemory& memory, std::uint64_t size)
      : range_{0, size}, bytes_(memory.add(0, size)) {}

  [[nodiscard]] std::span<const GpaRange> ranges() const override { return {&range_, 1}; }

  Result<void> write(Gpa address, std::span<const std::byte> bytes) override {
    if (!contains(ranges(), address, bytes.size())) return fail(Errc::out_of_guest_memory, 0, "");
    std::memcpy(bytes_ + address, bytes.data(), bytes.size());
    return {};
  }

  Result<void> read(Gpa address, std::span<std::byte> bytes) override {
    if (!contains(ranges(), address, bytes.size())) return fail(Errc::out_of_guest_memory, 0, "");
    std::memcpy(bytes.data(), bytes_ + address, bytes.size());
    return {};
  }

 private:
  GpaRange range_;
  std::byte* bytes_;
};

struct Outcome {
  int exit_code = -1; // none
  std::string console;
  std::string stopped; // why, where the guest did not exit
  std::uint64_t instructions = 0;
};

Outcome run_guest(std::span<const std::byte> image, const std::string& command_line, unsigned cpus,
                  std::uint64_t size = 16 * mib) {
  Outcome outcome;
  FlatMemory flat;
  FlatGuestMemory memory(flat, size);
  const auto kernel = load_elf(memory, image, "guest");
  EXPECT_TRUE(kernel);
  EXPECT_TRUE(write_boot_params(memory, {.command_line = command_line}));
  const auto entry = write_boot_tables(memory, kernel->entry);
  EXPECT_TRUE(entry);

  std::vector<std::unique_ptr<Cpu>> vcpus;
  for (unsigned i = 0; i < cpus; ++i) vcpus.push_back(std::make_unique<Cpu>(flat));
  std::atomic<bool> stop{false};
  const auto stop_all = [&] {
    stop.store(true);
    for (const auto& cpu : vcpus) cpu->request_exit();
  };
  Serial serial(
      [&](std::span<const char> bytes) { outcome.console.append(bytes.data(), bytes.size()); });
  DebugExit debug_exit([&](std::uint8_t code) {
    outcome.exit_code = code;
    stop_all();
  });
  PortBus ports;
  EXPECT_TRUE(ports.attach(Serial::com1_ports, serial, "serial"));
  EXPECT_TRUE(ports.attach(DebugExit::ports, debug_exit, "debug exit"));

  std::mutex mutex;
  const auto run = [&](unsigned index) {
    Cpu& cpu = *vcpus[index];
    EntryState state = *entry;
    state.rdi = index;
    state.rdx = cpus;
    softcpu::set_entry_state(cpu, state);
    cpu.set_cpuid(softcpu::software_cpuid(index, cpus, 1000000));
    std::string why;
    while (!stop.load() && why.empty()) {
      const softcpu::Exit exit = cpu.run();
      if (const auto* out = std::get_if<kvm::IoOut>(&exit)) {
        ports.write(out->port, out->size, out->data);
      } else if (const auto* in = std::get_if<kvm::IoIn>(&exit)) {
        ports.read(in->port, in->size, in->data);
      } else if (const auto* unsupported = std::get_if<softcpu::Unsupported>(&exit)) {
        why = fmt::format("{} at {:#x}", unsupported->what, unsupported->rip);
      } else if (std::holds_alternative<kvm::Shutdown>(exit)) {
        why = "shutdown";
      } else if (!std::holds_alternative<kvm::Interrupted>(exit)) {
        why = fmt::format("exit {}", exit.index());
      }
    }
    const std::lock_guard guard(mutex);
    outcome.instructions += cpu.instructions();
    if (!why.empty()) {
      outcome.stopped = why;
      stop_all();
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < cpus; ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();
  return outcome;
}

TEST(SoftCpuGuest, HelloPrintsItsCommandLineAndExitsWithTheCodeItWasGiven) {
  const Outcome outcome = run_guest(guest::builtin_hello(), "exit=7 software", 1);
  EXPECT_EQ(outcome.exit_code, 7) << outcome.stopped;
  EXPECT_THAT(outcome.console, HasSubstr("exit=7 software"));
}

TEST(SoftCpuGuest, ExceptionsReachTheGuestsHandlers) {
  for (const std::string trap : {"ud", "gp", "pf", "de"}) {
    const Outcome outcome = run_guest(guest::builtin_hello(), "trap=" + trap, 1);
    EXPECT_EQ(outcome.exit_code, 5) << trap << ": " << outcome.stopped << outcome.console;
  }
}

TEST(SoftCpuGuest, WithoutHandlersAnExceptionIsATripleFault) {
  for (const std::string crash : {"triple", "ud", "gp", "pf", "de"}) {
    const Outcome outcome = run_guest(guest::builtin_hello(), "crash=" + crash, 1);
    EXPECT_EQ(outcome.stopped, "shutdown") << crash;
  }
}

TEST(SoftCpuGuest, MemstressPassesOnOneVcpu) {
  const Outcome outcome = run_guest(guest::builtin_memstress(), "passes=1 mib=4 order=mix", 1);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stopped << outcome.console;
  EXPECT_THAT(outcome.console, HasSubstr("memstress: PASS"));
}

TEST(SoftCpuGuest, MemstressPassesOnFourVcpusThatShareCounters) {
  const Outcome outcome = run_guest(guest::builtin_memstress(), "passes=1 mib=4 shared=4", 4);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stopped << outcome.console;
  EXPECT_THAT(outcome.console, HasSubstr("memstress: PASS"));
}

TEST(SoftCpuGuest, MemstressFindsAPageThatItDamagedItself) {
  const Outcome outcome = run_guest(guest::builtin_memstress(), "passes=1 mib=4 corrupt=1", 1);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.stopped << outcome.console;
}

} // namespace
} // namespace slat::test
