// SoftMemory: slat's own stage-2 behind software vCPUs. The counterpart of memslots, userfaultfd and fault service:
// here the table is ours, and a vCPU takes its faults in its own thread.
//
//   translate()   Stage2Table::access(): a lockless walk that sets A and D      in guest mode
//   fault()       handle_mm_fault(), which installs into the table              out of guest mode
//   zap           a subscriber of the address space's notifier chain; its flush asks every vCPU and waits for those in
//                 guest mode (VcpuFlush)
#pragma once

#include "mmu/histogram.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_mmu.hpp"
#include "mmu/stage2/vcpu_flush.hpp"
#include "vmm/fault_stream.hpp"
#include "vmm/guest_ram.hpp"
#include "vmm/softcpu/guest_physical.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

namespace slat::vmm {

class SoftMemory {
 public:
  using Table = mmu::stage2::Stage2Table<mmu::stage2::EptFormat>;

  /// Guest memory as one vCPU accesses it. Its faults take no lock but those of the fault path.
  class VcpuView final : public softcpu::GuestPhysical {
   public:
    Page translate(std::uint64_t gpa, softcpu::Access access) override;
    mmu::FaultResult fault(std::uint64_t gpa, softcpu::Access access) override;

   private:
    friend class SoftMemory;

    explicit VcpuView(SoftMemory& memory) : memory_(&memory) {}

    SoftMemory* memory_;
    FaultStream stream_;
    std::uint64_t absent_gpa_ = 0;      // what translate() found absent last, and
    std::uintptr_t absent_address_ = 0; // where it is in the guest view
    std::uint32_t until_timed_ = 1;
    // Written by the vCPU's thread alone: relaxed, sums for whoever looks.
    std::atomic<std::uint64_t> faults_{0};
    mmu::Histogram latency_ns_;
  };

  /// Of each fault that is timed; the others are only counted. Reading the clock twice would be a third of a fault.
  static constexpr std::uint32_t faults_per_timing = 16;

  /// Registers with the address space of `ram`, which outlives it. `around`: see FaultStream. Errors: host_limit.
  static Result<std::unique_ptr<SoftMemory>> create(GuestRam& ram, std::uint32_t around);
  /// Nobody runs on the views any more. Sleeps.
  ~SoftMemory();
  SoftMemory(const SoftMemory&) = delete;
  SoftMemory& operator=(const SoftMemory&) = delete;

  /// For one more vCPU; before any runs.
  VcpuView& add_view();

  /// A vCPU that uses a view: flushes go to it. Before any runs; it outlives this, or at least every change of the
  /// address space.
  void add_vcpu(mmu::stage2::VcpuFlush& flush) { flusher_.add(flush); }

  /// See Accelerator.
  void remove_slot(std::size_t region) { mmu_->remove_slot(region); }

  void add_slot(std::size_t region) { mmu_->set_slot(region, ram_->regions()[region].guest_view); }

  void read_dirty(std::size_t region, std::span<std::uint64_t> bits) {
    const GpaRange& range = ram_->regions()[region].gpa;
    table_->read_dirty(range.start, range.start + range.size, bits);
  }

  [[nodiscard]] Table& table() { return *table_; }

  /// Benchmarks: a vCPU sleeps as long before it resolves each fault, from now on.
  void set_delay(std::chrono::microseconds delay) {
    delay_.store(delay, std::memory_order_relaxed); // takes effect soon
  }

  /// Any time. From the walk that found nothing to the return of the install, in nanoseconds, of all vCPUs.
  [[nodiscard]] std::uint64_t fault_count() const;
  [[nodiscard]] mmu::Histogram fault_latency_ns() const;

 private:
  SoftMemory(GuestRam& ram, std::uint32_t around) : ram_(&ram), around_(around) {}

  GuestRam* ram_;
  const std::uint32_t around_;
  std::atomic<std::chrono::microseconds> delay_{std::chrono::microseconds(0)};
  mmu::stage2::VcpuFlusher flusher_;
  std::unique_ptr<Table> table_;
  std::unique_ptr<mmu::stage2::Stage2Mmu<mmu::stage2::EptFormat>> mmu_;
  bool registered_ = false;
  std::vector<std::unique_ptr<VcpuView>> views_;
};

} // namespace slat::vmm
