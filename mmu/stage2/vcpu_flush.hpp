// How a flush reaches a vCPU: by a request that the vCPU acknowledges once its TLB is empty, or that it
// cannot miss because it is out of guest mode (I36, I37). After the kernel's vcpu->mode and
// KVM_REQ_TLB_FLUSH.
//
// vCPU                                       flush, any thread, after it has changed the table
//   enter  mode = in                           wanted + 1, the ticket
//          light fence                         heavy fence
//          wanted moved? drop, done = wanted   mode out? done
//   poll   wanted moved? drop, done = wanted   else wait until done >= ticket, or mode is out
//   leave  mode = out
//
// In guest mode a vCPU walks the table, fills its TLB and uses it; it polls often, between any two
// instructions at the latest. Out of guest mode it does none of that: it is in a fault, say, and may wait
// for the very invalidator that flushes.
//
// Why it is right. "mode = in; fence; read wanted" against "wanted + 1; fence; read mode": one sees the
// other. The fences are asymmetric (atomics.hpp): vCPUs enter and leave with every fault, flushes are
// rare and cost microseconds anyway. If the flush finds the vCPU out, then the next enter() finds the request, before anything is
// used. If it finds it in, it waits. The vCPU drops first and acknowledges afterwards (release), and
// walks again only with the request's acquire, so what it finds then is the table as changed.
//
// Waiters sleep on `acks_`, which moves with every acknowledgement and every leave(); "moved, then
// look for waiters" pairs with "announce, then look" by two fences.
#pragma once

#include "mmu/atomics.hpp"
#include "mmu/secondary_mmu.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

namespace slat::mmu::stage2 {

template <class A> class alignas(64) VcpuFlushOf {
 public:
  // ---- the vCPU's own thread

  /// Into guest mode. Calls `drop()`, which empties the TLB, if a flush was asked for meanwhile.
  template <class Drop> void enter(Drop drop) {
    mode_.store(in_guest, std::memory_order_relaxed);
    A::fence_light(); // pairs with the fence in request()
    poll(drop);
  }

  /// In guest mode, with no translation in use: answers requests. A load where there are none.
  template <class Drop> void poll(Drop drop) {
    // Acquire: the table as it was changed. Pairs with request().
    const std::uint64_t wanted = wanted_.load(std::memory_order_acquire);
    if (wanted == done_.load(std::memory_order_relaxed)) [[likely]] // written by this thread only
      return;
    drop();
    done_.store(wanted, std::memory_order_release); // dropped first; pairs with wait()
    tell();
  }

  /// Out of guest mode: no translation is used until enter(). Before anything that may wait.
  void leave() {
    mode_.store(out_of_guest, std::memory_order_release); // all use so far; pairs with wait()
    tell();
  }

  // ---- anybody

  /// Asks for a flush, of a table that has been changed before. The result is for wait(). Does not
  /// sleep.
  [[nodiscard]] std::uint64_t request() {
    const std::uint64_t ticket = post();
    A::fence_heavy(); // pairs with the fence in enter()
    return ticket;
  }

  /// request() for whoever asks many: A::fence_heavy() comes after all of them, and before any wait().
  [[nodiscard]] std::uint64_t post() { return wanted_.fetch_add(1, std::memory_order_release) + 1; }

  /// Sleeps until no translation from before the request is used any more. Not on the vCPU's own thread
  /// in guest mode.
  void wait(std::uint64_t ticket) {
    if (over(ticket)) return;
    waiters_.fetch_add(1, std::memory_order_relaxed); // ordered by the fence below
    for (;;) {
      const std::uint32_t seen = acks_.load(std::memory_order_relaxed); // the kernel compares again
      A::fence_heavy(); // pairs with the fence in tell()
      if (over(ticket)) break;
      A::wait_while(acks_, seen);
    }
    waiters_.fetch_sub(1, std::memory_order_relaxed); // a late wake-up costs nothing
  }

 private:
  static constexpr std::uint32_t out_of_guest = 0;
  static constexpr std::uint32_t in_guest = 1;

  /// Acquires what the vCPU did with old translations, before the caller frees what they led to.
  [[nodiscard]] bool over(std::uint64_t ticket) const {
    return mode_.load(std::memory_order_acquire) == out_of_guest ||
           done_.load(std::memory_order_acquire) >= ticket;
  }

  void tell() {
    acks_.store(acks_.load(std::memory_order_relaxed) + 1, // written by this thread only
                std::memory_order_release);
    A::fence_light(); // pairs with the fence in wait()
    if (waiters_.load(std::memory_order_relaxed) != 0) A::wake_all(acks_);
  }

  typename A::template atomic<std::uint32_t> mode_{out_of_guest};
  typename A::template atomic<std::uint64_t> wanted_{0};
  typename A::template atomic<std::uint64_t> done_{0};
  typename A::template atomic<std::uint32_t> acks_{0};
  typename A::template atomic<std::uint32_t> waiters_{0};
};

using VcpuFlush = VcpuFlushOf<StdAtomics>;

/// A flush of all vCPUs of a machine; each drops its whole TLB, whatever the range.
class VcpuFlusher final : public TlbFlusher {
 public:
  VcpuFlusher() = default;

  /// `vcpus` outlive every flush.
  explicit VcpuFlusher(std::vector<VcpuFlush*> vcpus) : vcpus_(std::move(vcpus)) {}

  /// One more. Before its vCPU first enters guest mode, and not beside a flush.
  void add(VcpuFlush& vcpu) { vcpus_.push_back(&vcpu); }

  /// Asks 64 at a time, then waits for each. See VcpuFlush::wait().
  void flush_range(std::uintptr_t, std::uintptr_t) override {
    std::uint64_t tickets[64];
    for (std::size_t first = 0; first < vcpus_.size(); first += std::size(tickets)) {
      const std::size_t count = std::min(std::size(tickets), vcpus_.size() - first);
      for (std::size_t i = 0; i < count; ++i) tickets[i] = vcpus_[first + i]->post();
      StdAtomics::fence_heavy(); // see VcpuFlush::request()
      for (std::size_t i = 0; i < count; ++i) vcpus_[first + i]->wait(tickets[i]);
    }
  }

 private:
  std::vector<VcpuFlush*> vcpus_;
};

} // namespace slat::mmu::stage2
