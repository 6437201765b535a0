#include "scenario.hpp"

namespace slat::explore {

std::span<const ScenarioInfo> device_scenarios() {
  return {};
}

} // namespace slat::explore
