// A live guest for benchmarks: memstress in touch mode, which visits one word of each page of its memory, in turn, round
// and round.
#pragma once

#include "slat/bench_backing.hpp"
#include "slat/machine_options.hpp"
#include "vmm/machine.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace slat::tool {

struct BenchGuestOptions {
  std::string command_line = {}; // memstress'; empty: touch mode, in sequence
  bool overlap = false;          // touch mode: each vCPU visits all pages, and not a share of them
  std::chrono::microseconds fault_delay{0}; // before each fault of the guest is resolved
  std::string_view backing = shmem_backing; // of its RAM; lack_of_backing() is empty
};

/// One thread's. All sleep. Every wait ends with an error when the user has asked for an end (pending_signal()), or when
/// the guest has ended.
class BenchGuest {
 public:
  /// Starts a guest. Its threads have no seccomp filters: several machines come and go in one process, and a filter stays.
  /// Errors: those of Machine::create() and start().
  static vmm::Result<std::unique_ptr<BenchGuest>> start(const MachineOptions& options,
                                                        vmm::Accel accel, mmu::VmaLockDesign design,
                                                        const BenchGuestOptions& guest = {});
  ~BenchGuest();
  BenchGuest(const BenchGuest&) = delete;
  BenchGuest& operator=(const BenchGuest&) = delete;

  /// Until it has written every page once.
  vmm::Result<void> wait_until_populated();

  /// Whether its visits write from now on, or read; what it had begun is done when this returns.
  vmm::Result<void> set_writing(bool writing);

  /// Until each vCPU has visited all of its pages once more; seconds.
  vmm::Result<double> touch_all();

  /// Visits a second, over about `seconds`.
  vmm::Result<double> visits_per_second(double seconds);

  /// Takes all RAM out of the guest view and the stage-2; the content stays.
  vmm::Result<void> zap_all();

  /// All vCPUs out of the guest, until resume().
  void pause() { machine_->pause(); }

  void resume() { machine_->resume(); }

  /// Ends it; instructions() is known then.
  void stop();

  /// Pages that the guest visits; after wait_until_populated().
  [[nodiscard]] std::uint64_t pages() const { return pages_; }

  [[nodiscard]] vmm::Machine& machine() { return *machine_; }

 private:
  BenchGuest(std::unique_ptr<vmm::Machine> machine, bool overlap)
      : machine_(std::move(machine)), overlap_(overlap) {}

  struct Visits;
  vmm::Result<Visits> look();
  vmm::Result<void> pause_to_poll();

  std::unique_ptr<vmm::Machine> machine_;
  const bool overlap_;
  std::uint64_t pages_ = 0;
};

/// The accelerators that this host has, KVM first; or the one that the option names.
vmm::Result<std::vector<vmm::Accel>> bench_accelerators(const MachineOptions& options);

/// "kvm" or "soft".
[[nodiscard]] std::string_view accel_name(vmm::Accel accel);

} // namespace slat::tool
