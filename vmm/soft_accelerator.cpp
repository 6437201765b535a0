// Software: our own stage-2 is the authority, and vCPUs take their faults themselves. Needs nothing of the host but
// memory.
#include "vmm/accelerator.hpp"
#include "vmm/soft_vcpu.hpp"
#include "vmm/softcpu/setup.hpp"

#include <chrono>
#include <thread>
#include <x86intrin.h>

namespace slat::vmm {

namespace {

struct Instant {
  std::chrono::steady_clock::time_point time;
  std::uint64_t ticks;
};

/// Clock and TSC at the same moment: of some readings the one that was interrupted the least.
Instant now() {
  using Clock = std::chrono::steady_clock;
  Instant best{};
  auto least = Clock::duration::max();
  for (int i = 0; i < 20; ++i) {
    const auto before = Clock::now();
    const std::uint64_t ticks = __rdtsc();
    const auto after = Clock::now();
    if (after - before >= least) continue;
    least = after - before;
    best = {before + least / 2, ticks};
  }
  return best;
}

/// Of this host's TSC, which software vCPUs show. Measured once.
std::uint32_t host_tsc_khz() {
  static const std::uint32_t khz = [] {
    const Instant first = now();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const Instant last = now();
    return std::uint32_t(double(last.ticks - first.ticks) /
                         std::chrono::duration<double, std::milli>(last.time - first.time).count());
  }();
  return khz;
}

class SoftAccelerator final : public Accelerator {
 public:
  explicit SoftAccelerator(const AcceleratorOptions& options) : options_(options) {}

  [[nodiscard]] std::string_view name() const override { return "soft"; }

  [[nodiscard]] unsigned max_vcpus() const override { return 255; } // APIC ids of 8 bits

  Result<void> attach_memory(GuestRam& ram, OnFailure) override {
    auto memory = SoftMemory::create(ram, options_.fault_around);
    if (!memory) return forward(memory);
    memory_ = std::move(*memory);
    return {};
  }

  Result<void> remove_slot(std::size_t region) override {
    memory_->remove_slot(region);
    return {};
  }

  Result<void> add_slot(std::size_t region) override {
    memory_->add_slot(region);
    return {};
  }

  Result<void> log_dirty() override { return {}; } // the table's D bits are always kept

  Result<void> read_dirty(std::size_t region, std::span<std::uint64_t> bits) override {
    memory_->read_dirty(region, bits);
    return {};
  }

  void detach_memory() override { memory_.reset(); }

  Result<void> make_pc() override {
    return fail(Errc::host_unavailable, 0,
                "software vCPUs run slat's own guests, not Linux; use --accel kvm, on a host with "
                "nested paging or in the nested host (tools/nested/run.sh)");
  }

  void set_irq_line(unsigned, bool) override {}

  Result<std::unique_ptr<VcpuBackend>> create_vcpu(unsigned index,
                                                   const EntryState& entry) override {
    auto vcpu = std::make_unique<SoftVcpu>(memory_->add_view());
    softcpu::set_entry_state(vcpu->cpu(), entry);
    vcpu->cpu().set_cpuid(softcpu::software_cpuid(index, options_.cpus, host_tsc_khz()));
    memory_->add_vcpu(vcpu->cpu().flush());
    return std::unique_ptr<VcpuBackend>(std::move(vcpu));
  }

  [[nodiscard]] std::uint64_t fault_count() const override {
    return memory_ == nullptr ? 0 : memory_->fault_count();
  }

  [[nodiscard]] mmu::Histogram fault_latency_ns() const override {
    return memory_ == nullptr ? mmu::Histogram() : memory_->fault_latency_ns();
  }

  [[nodiscard]] SoftMemory* soft_memory() override { return memory_.get(); }

 private:
  const AcceleratorOptions options_;
  std::unique_ptr<SoftMemory> memory_;
};

} // namespace

Result<std::unique_ptr<Accelerator>> open_soft(const AcceleratorOptions& options) {
  return std::unique_ptr<Accelerator>(std::make_unique<SoftAccelerator>(options));
}

} // namespace slat::vmm
