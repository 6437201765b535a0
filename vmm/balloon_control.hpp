// BalloonControl: what the host asks of a guest's balloon, and what it knows of it.
#pragma once

#include "vmm/error.hpp"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace slat::vmm {

class BalloonControl {
 public:
  virtual ~BalloonControl() = default;

  struct State {
    std::uint64_t target_bytes;   // what the guest is to give up
    std::uint64_t actual_bytes;   // what it says that it has given up
    std::uint64_t inflated_bytes; // given back to the host by it, as often as it was
    std::uint64_t reported_bytes; // the same by free page reporting
    bool deflate_on_oom;          // it may take pages back before it runs out of memory
    bool free_page_reporting;     // it tells of pages that it has free
  };

  /// What the guest last told; empty until it has. Names are those of Firecracker's API, such as "free_memory".
  using Statistics = std::vector<std::pair<std::string_view, std::uint64_t>>;

  // Any thread; do not wait for the guest.

  /// Page aligned. Errors: invalid_argument, also beyond the RAM.
  virtual Result<void> set_target(std::uint64_t bytes) = 0;
  [[nodiscard]] virtual State state() const = 0;
  /// Asks the guest for newer ones too: they come with a later call.
  [[nodiscard]] virtual Statistics statistics() = 0;
};

} // namespace slat::vmm
