// FaultService: the threads that read a userfaultfd and resolve what it reports through mmu's fault path.
#pragma once

#include "kvm/fd.hpp"
#include "kvm/userfaultfd.hpp"
#include "mmu/histogram.hpp"
#include "vmm/error.hpp"
#include "vmm/fault_around.hpp"
#include "vmm/guest_ram.hpp"
#include "vmm/seccomp.hpp"
#include "vmm/uffd_mmu.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace slat::vmm {

class FaultService {
 public:
  /// A fault that cannot be resolved, or a service thread that cannot go on: why, in a line. Called by a service thread,
  /// which then poisons the page, so that the vCPU comes back with an error instead of hanging.
  using OnFailure = std::function<void(std::string why)>;

  struct Options {
    unsigned threads = 1;
    std::uint32_t around = 16;              // pages; see FaultAround
    SeccompMode seccomp = SeccompMode::off; // prepare_sandbox() first
  };

  /// Starts the threads. All three references outlive it. Errors: host_failed, host_limit.
  static Result<std::unique_ptr<FaultService>> start(GuestRam& ram, kvm::Userfaultfd& uffd,
                                                     const Options& options, OnFailure on_failure);
  /// Ends the threads and joins them. Nobody may fault afterwards: stop the vCPUs first.
  ~FaultService();
  FaultService(const FaultService&) = delete;
  FaultService& operator=(const FaultService&) = delete;

  /// From reading the message to the return of the install that resolved it, in nanoseconds.
  [[nodiscard]] const mmu::Histogram& fault_latency_ns() const { return latency_; }

  /// Benchmarks: resolve minor faults by a bare UFFDIO_CONTINUE of one page instead, without any of mmu's machinery. Only
  /// while nothing changes the guest view behind it but zaps.
  void set_bare(bool bare) { bare_.store(bare, std::memory_order_relaxed); } // takes effect soon

  /// Benchmarks: faults served by the bare loop.
  [[nodiscard]] std::uint64_t bare_count() const {
    return bare_count_.load(std::memory_order_relaxed);
  }

  /// Benchmarks: sleeps as long before it resolves each fault, from now on, as if pages came from far away.
  void set_delay(std::chrono::microseconds delay) {
    delay_.store(delay, std::memory_order_relaxed); // takes effect soon
  }

  /// Takes another window size from now on.
  void set_around(std::uint32_t pages) { around_.set_base(pages); }

 private:
  FaultService(GuestRam& ram, kvm::Userfaultfd& uffd, const Options& options, OnFailure on_failure);
  void run_guarded(unsigned index);
  /// This thread ends, and with it the run.
  void give_up(const std::string& why);
  void run();
  void serve(const kvm::FaultEvent& event, std::uint64_t read_at_ns);

  GuestRam* ram_;
  mmu::AddressSpace* mm_; // its
  kvm::Userfaultfd* uffd_;
  UffdMmu secondary_;
  const Options options_;
  const OnFailure on_failure_;
  kvm::Fd stop_; // an eventfd, readable once the threads are to end
  mmu::Histogram latency_;
  FaultAround around_;
  std::atomic<bool> bare_{false};
  std::atomic<std::uint64_t> bare_count_{0};
  std::atomic<std::chrono::microseconds> delay_{std::chrono::microseconds(0)};
  std::vector<std::thread> threads_;
};

} // namespace slat::vmm
