// Cpu: a virtual processor in software: x86-64 long mode with the integer instructions that compilers emit without
// SSE. What it does not know stops it with a report, never silently.
#pragma once

#include "kvm/exit.hpp"
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

/// As KVM's exits: accesses complete on the next run(), what a read gives must be in `data` before that. Spans hold
/// until then.
using Exit = std::variant<kvm::IoOut, kvm::IoIn, kvm::MmioRead, kvm::MmioWrite, kvm::Hlt,
                          kvm::Shutdown, kvm::Interrupted, Unsupported>;

/// One thread at a time uses it; request_exit(), request_flush() and flushed() are for everybody.
class Cpu {
 public:
  /// `physical` must outlive it. Allocates.
  explicit Cpu(GuestPhysical& physical) : core_(physical) {}

  [[nodiscard]] CpuState& state() { return core_.state; }

  /// After state() was used to change CR0, CR3, CR4, EFER or the privilege. Forgets a pending access.
  void state_changed();

  void set_cpuid(CpuidTable table) { core_.cpuid = std::move(table); }

  /// Guest to the next exit. May sleep in GuestPhysical::translate().
  [[nodiscard]] Exit run();

  /// An external interrupt, delivered as soon as the guest takes interrupts. False: there is one waiting already.
  [[nodiscard]] bool interrupt(std::uint8_t vector);

  /// Instructions finished so far; a repeated one counts once. For the vCPU's thread.
  [[nodiscard]] std::uint64_t instructions() const { return instructions_; }

  /// Blocks decoded so far.
  [[nodiscard]] std::uint64_t blocks_decoded() const { return blocks_.decoded(); }

  /// Makes run() return Interrupted soon, or at once when it is called next; once per request or more.
  void request_exit() {
    // Release pairs with the acquire in run(): what the requester did before is seen after Interrupted.
    requests_.fetch_or(exit_request, std::memory_order_release);
  }

  /// Asks for all translations to be dropped; the result is for flushed().
  std::uint64_t request_flush() {
    const std::uint64_t ticket = flush_wanted_.fetch_add(1, std::memory_order_acq_rel) + 1;
    // seq_cst, as the exchange in run(): either run() sees the bit, or the requester finds it not running.
    requests_.fetch_or(flush_request, std::memory_order_seq_cst);
    return ticket;
  }

  /// No translation from before that request is used any more. A vCPU that is not in run() flushes when it next is.
  [[nodiscard]] bool flushed(std::uint64_t ticket) const {
    return flush_done_.load(std::memory_order_acquire) >= ticket; // pairs with the release in run()
  }

 private:
  static constexpr std::uint32_t exit_request = 1, flush_request = 2;

  /// True: leave the guest.
  bool serve_requests();
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
  std::atomic<std::uint32_t> requests_{0};
  std::atomic<std::uint64_t> flush_wanted_{0};
  std::atomic<std::uint64_t> flush_done_{0};
};

} // namespace slat::vmm::softcpu
