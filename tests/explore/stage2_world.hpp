// What scenarios of slat's own stage-2 table share: a table with a vCPU.
#pragma once

#include "world.hpp"

#include "mmu/stage2/checker.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_table.hpp"
#include "mmu/stage2/vcpu_flush.hpp"

namespace slat::explore {

using namespace mmu::stage2;
using Table = Stage2Table<EptFormat>;

/// A vCPU: what it translates it uses before it polls or leaves (I36).
class Vcpu {
 public:
  /// Translates, then calls `use(translation)`; false if there is none.
  template <class Use> bool access(Table& table, std::uint64_t address, bool write, Use use) {
    flush.enter([] {});
    const auto found = table.access(address, write);
    if (found) use(*found);
    flush.leave();
    return found.has_value();
  }

  VcpuFlush flush;
};

/// A vCPU behind a table.
class Stage2Scenario : public Scenario {
 protected:
  explicit Stage2Scenario(std::uint64_t limit, DirtyTracking tracking = DirtyTracking::dirty_bits) {
    flusher_.add(vcpu_.flush);
    auto made = Table::create({.limit = limit, .levels = 4, .tracking = tracking}, flusher_);
    require(made.has_value(), "no table");
    table_ = std::move(*made);
  }

  void check_table_itself() { require(check_table(*table_).has_value(), "the table is damaged"); }

  Vcpu vcpu_;
  VcpuFlusher flusher_;
  std::unique_ptr<Table> table_;
};

} // namespace slat::explore
