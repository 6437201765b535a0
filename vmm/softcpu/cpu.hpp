// Cpu: a virtual processor in software: x86-64 long mode with the integer instructions that compilers emit without
// SSE. What it does not know stops it with a report, never silently.
#pragma once

#include "kvm/exit.hpp"
#include "mmu/stage2/vcpu_flush.hpp"
#include "vmm/softcpu/block_cache.hpp"
#include "vmm/softcpu/core.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

namespace slat::vmm::softcpu {

/// The guest needs something that a software vCPU does not have. rip is at the instruction.
struct Unsupported {
  std::uint64_t rip;
  std::string what;
};

/// Guest memory that cannot be had. rip is at the instruction.
struct MemoryFailed {
  std::uint64_t gpa; // of the page
  Access access;
  mmu::FaultResult why;
};

/// As KVM's exits: accesses complete on the next run(), what a read gives must be in `data` before that. Spans hold
/// until then.
using Exit = std::variant<kvm::IoOut, kvm::IoIn, kvm::MmioRead, kvm::MmioWrite, kvm::Hlt,
                          kvm::Shutdown, kvm::Interrupted, MemoryFailed, Unsupported>;

/// One thread at a time uses it; request_exit() and what flush() allows are for everybody.
///
/// It is in guest mode (VcpuFlush) inside run(), but for stage-2 faults. There it looks for flush requests between any
/// two blocks, with no host pointer in use.
class Cpu {
 public:
  /// `physical` must outlive it. Allocates.
  explicit Cpu(GuestPhysical& physical) : core_(physical) {}

  [[nodiscard]] CpuState& state() { return core_.state; }

  /// After state() was used to change CR0, CR3, CR4, EFER or the privilege. Forgets a pending access.
  void state_changed();

  void set_cpuid(CpuidTable table) { core_.cpuid = std::move(table); }

  /// Guest to the next exit. May sleep in GuestPhysical::fault(), and for no other reason; no lock is held.
  [[nodiscard]] Exit run();

  /// An external interrupt, delivered as soon as the guest takes interrupts. False: there is one waiting already.
  [[nodiscard]] bool interrupt(std::uint8_t vector);

  /// Instructions finished so far; a repeated one counts once. For the vCPU's thread.
  [[nodiscard]] std::uint64_t instructions() const { return instructions_; }

  /// Blocks decoded so far.
  [[nodiscard]] std::uint64_t blocks_decoded() const { return blocks_.decoded(); }

  /// Makes run() return Interrupted soon, or at once when it is called next; once per request or more.
  void request_exit() {
    // Release pairs with the acquire in take_exit_request(): what the requester did before is seen after Interrupted.
    exit_requested_.store(true, std::memory_order_release);
  }

  /// How flushes of all its translations are asked for and waited for (I36, I37).
  [[nodiscard]] mmu::stage2::VcpuFlush& flush() { return flush_; }

  /// Stage-2 faults taken so far. For the vCPU's thread.
  [[nodiscard]] std::uint64_t stage2_faults() const { return stage2_faults_; }

 private:
  void enter_guest();
  /// Takes the stage-2 fault of the last access. `failed_`: the page cannot be had.
  void serve_stage2();
  [[nodiscard]] bool take_exit_request();
  Exit run_in_guest();
  [[nodiscard]] bool can_interrupt() const;
  Flow execute();
  [[nodiscard]] const Block* fetch(Flow& failure);
  [[nodiscard]] const Block* fetch_across_pages(Flow& failure);
  Exit device_exit();

  Core core_;
  BlockCache blocks_;
  Block crossing_; // the one instruction that goes on in another page
  std::optional<std::uint8_t> pending_interrupt_;
  std::array<std::byte, 8> data_{}; // of the access that an exit is about
  std::uint64_t instructions_ = 0;
  std::uint64_t stage2_faults_ = 0;
  std::optional<MemoryFailed> failed_;
  bool delivering_ = false; // the exception in core_.fault was interrupted by a stage-2 fault
  std::atomic<bool> exit_requested_{false};
  mmu::stage2::VcpuFlush flush_;
};

} // namespace slat::vmm::softcpu
