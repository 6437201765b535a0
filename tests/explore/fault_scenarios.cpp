#include "scenario.hpp"

namespace slat::explore {

std::span<const ScenarioInfo> fault_scenarios() {
  return {};
}

} // namespace slat::explore
