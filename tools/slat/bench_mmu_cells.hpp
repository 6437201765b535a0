// The workloads of `slat bench mmu`: what one thread does over and over in an address space of one
// design, and the writer that disturbs it.
#pragma once

#include "mmu/address_space.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace slat::tool {

enum class Workload {
  lookup,    // find the VMA of a random address, in the reader's section
  lock,      // lookup, read lock, unlock
  fault,     // a fault on a present page, installed into nothing
  notify,    // start and end of a range, with one subscriber
  srcu,      // a read section of the notifiers' domain
  map_unmap, // map 16 pages anywhere, unmap them
  one_vma,   // fill pages by faults, then discard them; all threads in one VMA
  own_vma,   // the same, each thread in a VMA of its own
  map_touch, // map a chunk of random size, fault its pages in, unmap (like ebizzy)
};

inline constexpr Workload all_workloads[] = {
    Workload::lookup,    Workload::lock,    Workload::fault,   Workload::notify,   Workload::srcu,
    Workload::map_unmap, Workload::one_vma, Workload::own_vma, Workload::map_touch};

[[nodiscard]] std::string_view to_string(Workload workload);
/// What one operation is, for the legend.
[[nodiscard]] std::string_view describe(Workload workload);

/// An address space with `vmas` VMAs of one page each, and room for the threads.
class BenchSpace {
 public:
  /// Errors as AddressSpace::create() and map().
  static mmu::Result<std::unique_ptr<BenchSpace>> create(mmu::VmaLockDesign design, unsigned vmas,
                                                         unsigned threads);
  ~BenchSpace();
  BenchSpace(const BenchSpace&) = delete;
  BenchSpace& operator=(const BenchSpace&) = delete;

  /// Runs `workload` on `threads` threads for `seconds`, with a writer that changes one of the VMAs
  /// `writer_rate` times a second. Returns operations per second, of all threads.
  double run(Workload workload, unsigned threads, unsigned writer_rate, double seconds);

  /// An address in each of its VMAs, ascending or descending.
  [[nodiscard]] std::span<const std::uintptr_t> pages() const { return pages_; }

 private:
  struct Subscriber;
  struct NowhereMmu;
  BenchSpace();
  std::uint64_t work(Workload workload, unsigned thread, const std::atomic<bool>& stop);
  void fill_and_discard(std::uintptr_t start);
  void map_and_unmap(unsigned thread, std::uint64_t pages, bool touch);

  mmu::Counters counters_;
  std::unique_ptr<Subscriber> subscriber_;
  std::unique_ptr<NowhereMmu> nowhere_;
  mmu::BackingRef small_, shared_, scratch_;
  std::vector<mmu::BackingRef> own_;
  std::unique_ptr<mmu::AddressSpace> mm_;
  std::vector<std::uintptr_t> pages_; // one in each VMA
  std::uintptr_t shared_start_ = 0;
  std::vector<std::uintptr_t> own_starts_;
};

} // namespace slat::tool
