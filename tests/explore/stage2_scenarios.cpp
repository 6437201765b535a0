#include "scenario.hpp"

namespace slat::explore {

std::span<const ScenarioInfo> stage2_scenarios() {
  return {};
}

} // namespace slat::explore
