// Storm: a host that takes guest memory away while the guest runs, as reclaim, balloons and migration would.
#pragma once

#include "mmu/address_space.hpp"
#include "vmm/error.hpp"
#include "vmm/guest_ram.hpp"

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <thread>

namespace slat::vmm {

struct StormOptions {
  std::uint64_t seed = 1;
  unsigned rate = 1000;          // ranges a second
  std::uint64_t max_pages = 512; // of one range; sizes are log-uniform from 1
};

/// `zap`: random ranges of the guest view are discarded; every page must come back with its data.
class ZapStorm {
 public:
  /// Starts at once. The RAM outlives it.
  ZapStorm(GuestRam& ram, const StormOptions& options);
  /// Ends and joins.
  ~ZapStorm();
  ZapStorm(const ZapStorm&) = delete;
  ZapStorm& operator=(const ZapStorm&) = delete;

  /// Ranges done so far.
  [[nodiscard]] std::uint64_t ranges() const {
    return ranges_.load(std::memory_order_relaxed);
  } // a sum

  /// Ends the storm, and gives the error that had ended it before; empty if there was none.
  [[nodiscard]] const std::string& finish();

 private:
  void run();

  GuestRam* ram_;
  const StormOptions options_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> ranges_{0};
  std::string error_; // written by the thread, read after the join
  std::thread thread_;
};

} // namespace slat::vmm
