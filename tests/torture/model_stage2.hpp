// A model of a second-level page table, and of the vCPUs that use it, for the mm torture.
//
// An entry holds the generation of the page that it maps: how many times the page had been filled.
// Using an entry whose page has been filled again since, or not at all, is the stale access that I20
// forbids. There are two kinds:
//   frozen  entries are installed in two phases and emptied when a range starts: slat's own stage-2
//   locked  entries are stored blindly under the page lock, and emptied by the flush that follows the
//           zap: KVM behind a guest view, where the page lock plays FROZEN. Nothing but the fault
//           path's check and the invalidator's wait for page locks keeps it right.
#pragma once

#include "mmu/address_space.hpp"
#include "torture.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace slat::torture {

inline constexpr std::uint64_t page_count = 64;
inline constexpr unsigned vcpu_limit = 32;

/// Generations of all pages; a source counts one up each time that it fills a page.
using Generations = std::array<std::atomic<std::uint64_t>, page_count>;

/// A vCPU is inside while it uses a translation; a flush waits until it is out.
struct VcpuGate {
  std::array<std::mutex, vcpu_limit> inside;
};

class ModelStage2 final : public mmu::SecondaryMmu, public mmu::Notifier, public mmu::TlbFlusher {
 public:
  enum class Kind { frozen, locked };

  ModelStage2(Kind kind, mmu::AddressSpace& mm, std::uintptr_t base, Generations& generations,
              VcpuGate& gate)
      : kind_(kind), mm_(&mm), base_(base), generations_(&generations), gate_(&gate) {}

  struct Translation {
    std::uint64_t generation; // that is mapped, or 0
    bool writable;
  };

  /// The caller is inside the gate.
  [[nodiscard]] Translation translate(std::uint64_t page) const {
    const std::uint64_t entry = entries_[page].load(std::memory_order_acquire);
    if ((entry & present) == 0) return {0, false};
    return {entry >> 8, (entry & writable_bit) != 0};
  }

  mmu::InstallResult install(const mmu::InstallRequest& run) override;
  bool invalidate_range_start(const mmu::NotifierRange& range) override;
  void invalidate_range_end(const mmu::NotifierRange& range) override;
  void flush_range(std::uintptr_t start, std::uintptr_t end) override;

 private:
  static constexpr std::uint64_t present = 1;
  static constexpr std::uint64_t writable_bit = 2;

  mmu::InstallStatus install_one(std::uint64_t page, bool writable);
  void empty(std::uintptr_t start, std::uintptr_t end);
  template <class Visit> void each_page(std::uintptr_t start, std::uintptr_t end, Visit visit);

  const Kind kind_;
  mmu::AddressSpace* const mm_;
  const std::uintptr_t base_;
  Generations* const generations_;
  VcpuGate* const gate_;
  std::array<std::atomic<std::uint64_t>, page_count> entries_{};
  std::atomic<unsigned> ends_{0};
  std::atomic<unsigned> installs_{0};
};

} // namespace slat::torture
