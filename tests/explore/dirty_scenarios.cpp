// The dirty log of slat's own stage-2 table, read while a vCPU writes.
#include "stage2_world.hpp"

namespace slat::explore {

namespace {

/// A vCPU writes by way of a TLB while somebody copies what the dirty log tells (I31, I32).
class DirtyWrite : public Stage2Scenario {
 public:
  explicit DirtyWrite(DirtyTracking tracking) : Stage2Scenario(64 * page_size, tracking) { map(); }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { guest(); }, [this] { copy(); }};
  }

  void check() override {
    copy();
    require(copied_ == memory_.load(), "a write is in no reading of the dirty log (I32)");
    check_table_itself();
  }

 protected:
  void map() {
    const MapOutcome outcome = table_->map(
        {.address = 0, .host = page_size, .hva = 0, .allowed = {true, true, true}, .write = true},
        sequence_, sequence_.snapshot());
    require(outcome == MapOutcome::installed || outcome == MapOutcome::present, "cannot be mapped");
  }

  /// Three writes by one translation, if it was dirty, which a TLB keeps; a new one after each flush.
  void guest() {
    std::optional<Translation> tlb;
    const auto drop = [&] { tlb.reset(); };
    VcpuFlush& flush = vcpu_.flush;
    flush.enter(drop);
    for (int value = 1; value <= 3; ++value) {
      while (!tlb) {
        tlb = table_->access(0, true);
        if (tlb) break;
        flush.leave(); // protected for the log
        map();
        flush.enter(drop);
      }
      memory_.store(value);
      if (!tlb->dirty) tlb.reset(); // its D bit may have to be set again
      flush.poll(drop);
    }
    flush.leave();
  }

  void copy() {
    std::uint64_t bits[1];
    table_->read_dirty(0, 64 * page_size, bits);
    if ((bits[0] & 1) != 0) copied_ = memory_.load();
  }

  InvalidateSeq sequence_;
  StdAtomics::atomic<int> memory_{0};
  int copied_ = 0;
};

class DirtyBits final : public DirtyWrite {
 public:
  DirtyBits() : DirtyWrite(DirtyTracking::dirty_bits) {}
};

class DirtyProtect final : public DirtyWrite {
 public:
  DirtyProtect() : DirtyWrite(DirtyTracking::write_protect) {}
};

/// The same with a zap of the page, which notes what it takes for the reader.
class DirtyZap final : public DirtyWrite {
 public:
  DirtyZap() : DirtyWrite(DirtyTracking::dirty_bits) {}

  std::vector<std::function<void()>> bodies() override {
    return {
        [this] { vcpu_.access(*table_, 0, true, [&](const Translation&) { memory_.store(1); }); },
        [this] { copy(); },
        [this] {
          sequence_.begin(0, page_size);
          table_->zap_range(0, page_size);
          sequence_.end(0, page_size);
        }};
  }
};

constexpr ScenarioInfo scenarios[] = {
    {"dirty-write", "dirty log read x write by a TLB", Designs::any, make_scenario<DirtyBits>},
    {"dirty-write-protect", "the same by write protection", Designs::any,
     make_scenario<DirtyProtect>},
    {"dirty-zap", "dirty log read x write x zap", Designs::any, make_scenario<DirtyZap>},
};

} // namespace

std::span<const ScenarioInfo> dirty_scenarios() {
  return scenarios;
}

} // namespace slat::explore
