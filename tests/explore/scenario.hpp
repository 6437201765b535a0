// Scenarios: a small world, two to four threads that do one thing each, and what must hold.
#pragma once

#include "scheduler.hpp"

#include "mmu/vma_lock/design.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace slat::explore {

/// Made anew for each execution; nothing of that is explored, and neither is the destruction. What it does
/// must depend on nothing but the schedule: fixed addresses, no time, no chance.
class Scenario {
 public:
  virtual ~Scenario() = default;
  /// At most max_threads.
  [[nodiscard]] virtual std::vector<std::function<void()>> bodies() = 0;

  /// After all bodies have returned.
  virtual void check() {}
};

enum class Designs { any, each, recycling }; // recycling: those with type-stable VMAs

struct ScenarioInfo {
  const char* name;
  const char* about;
  Designs designs; // any: VMA locks do not matter
  std::unique_ptr<Scenario> (*make)(mmu::VmaLockDesign design);
};

template <class S> std::unique_ptr<Scenario> make_scenario(mmu::VmaLockDesign design) {
  if constexpr (std::is_constructible_v<S, mmu::VmaLockDesign>)
    return std::make_unique<S>(design);
  else
    return std::make_unique<S>();
}

/// The property itself. Anywhere.
inline void require(bool condition, const char* what,
                    std::source_location where = std::source_location::current()) {
  if (!condition) failed(what, where.file_name(), int(where.line()));
}

/// The scenarios of each file.
std::span<const ScenarioInfo> explorer_scenarios();
std::span<const ScenarioInfo> notifier_scenarios();
std::span<const ScenarioInfo> fault_scenarios();
std::span<const ScenarioInfo> vma_scenarios();
std::span<const ScenarioInfo> stage2_scenarios();
std::span<const ScenarioInfo> dirty_scenarios();
std::span<const ScenarioInfo> device_scenarios();

} // namespace slat::explore
