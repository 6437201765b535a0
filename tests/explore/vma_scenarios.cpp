#include "scenario.hpp"

namespace slat::explore {

std::span<const ScenarioInfo> vma_scenarios() {
  return {};
}

} // namespace slat::explore
