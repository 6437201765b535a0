// StormKeeper: the storms of one run, at most one at a time: that of --storm, or those that the control socket asks for. What
// they did is added up over all of them.
#pragma once

#include "slat/storm_option.hpp"
#include "vmm/control_api.hpp"
#include "vmm/storm.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace slat::tool {

struct StormSetup {
  StormMeans means = {};
  vmm::GivenUpPages* given_up = nullptr; // outlives the keeper
  std::uint64_t seed = 1;                // each storm gets the next one
};

/// What --storm asks for, given with its other options.
[[nodiscard]] vmm::Controlled::StormOrder order_of(const std::string& kinds,
                                                   const vmm::StormOptions& options);

/// One thread at a time: before the control socket is served, the one that serves it, and after that.
class StormKeeper {
 public:
  /// All storms together.
  struct Totals {
    unsigned storms = 0;
    std::array<std::uint64_t, vmm::storm_kinds> ranges = {};
    std::uint64_t discarded_pages = 0;
    std::uint64_t unwritten_pages = 0;
    std::string error = {}; // the first that ended one

    [[nodiscard]] std::uint64_t all_ranges() const;

    [[nodiscard]] std::uint64_t of(vmm::StormKind kind) const { return ranges[std::size_t(kind)]; }
  };

  /// `machine` outlives it.
  StormKeeper(vmm::Machine& machine, const StormSetup& setup) : machine_(&machine), setup_(setup) {}

  /// Errors: invalid_argument: those of parse_storm(), or one is running.
  vmm::Result<void> start(const vmm::Controlled::StormOrder& order);
  /// Returns when it has ended. Errors: invalid_argument: none is running.
  vmm::Result<void> end();
  /// Ends the one that runs, if there is one.
  const Totals& finish();

  [[nodiscard]] vmm::Controlled::StormState state();

 private:
  void collect();

  vmm::Machine* machine_;
  const StormSetup setup_;
  std::optional<vmm::Storm> storm_;
  vmm::Controlled::StormState last_;
  Totals totals_;
};

} // namespace slat::tool
