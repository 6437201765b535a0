// What slat's maps are measured against: a std::map under a std::shared_mutex.
#pragma once

#include "slat/bench_mmu_cells.hpp"

#include <cstdint>
#include <map>
#include <shared_mutex>

namespace slat::tool {

class PlainMap {
 public:
  /// With the VMAs of `space`.
  explicit PlainMap(const BenchSpace& space);

  /// Whether it can do anything like it.
  [[nodiscard]] static bool has(Workload workload) {
    return workload == Workload::lookup || workload == Workload::lock ||
           workload == Workload::map_unmap;
  }

  /// As BenchSpace::run(); the writer takes a VMA out and puts it back.
  double run(Workload workload, unsigned threads, unsigned writer_rate, double seconds);

 private:
  struct Entry {
    std::uintptr_t end;
    std::uint32_t flags;
  };

  std::vector<std::uintptr_t> pages_;
  std::shared_mutex mutex_;
  std::map<std::uintptr_t, Entry> entries_; // by start
};

} // namespace slat::tool
