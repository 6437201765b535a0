#include "slat/bench_rounds.hpp"

#include "slat/progress.hpp"
#include "slat/run.hpp"

#include <fmt/format.h>

namespace slat::tool {

vmm::Result<void> measure_rounds(const Rounds& rounds, std::size_t cells,
                                 const std::function<std::string(std::size_t)>& name,
                                 const std::function<vmm::Result<void>(std::size_t, bool)>& run) {
  Progress progress;
  for (unsigned round = rounds.warm_up ? 0 : 1; round <= rounds.measured; ++round)
    for (std::size_t turn = 0; turn < cells; ++turn) {
      if (pending_signal()) return vmm::fail(vmm::Errc::host_failed, 0, "interrupted");
      const bool backwards = rounds.alternate && round % 2 == 1;
      const std::size_t cell = backwards ? cells - 1 - turn : turn;
      progress.show(fmt::format("round {} of {}: {}", round, rounds.measured, name(cell)));
      if (auto ok = run(cell, round != 0); !ok) return ok;
    }
  return {};
}

} // namespace slat::tool
