// Slat's own stage-2 table: faults, splits, invalidations and the dirty log beside each other.
#include "world.hpp"

#include "mmu/stage2/checker.hpp"
#include "mmu/stage2/ept_format.hpp"
#include "mmu/stage2/stage2_mmu.hpp"
#include "mmu/stage2/stage2_reshape.hpp"
#include "mmu/stage2/vcpu_flush.hpp"

namespace slat::explore {

namespace {

using namespace mmu::stage2;
using Table = Stage2Table<EptFormat>;

constexpr std::uint64_t huge = EptFormat::span(2);

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

/// Two faults through all of the fault path, and an access by what they install, beside a discard.
class FaultFaultZap final : public Stage2Scenario {
 public:
  explicit FaultFaultZap(VmaLockDesign design)
      : Stage2Scenario(page_size), world_(design, 1),
        mmu_(*table_, world_.mm->notifiers().sequence(),
             {{.guest = 0,
               .start = world_.at(0),
               .end = world_.at(1),
               .host = reinterpret_cast<std::uint64_t>(world_.backing->host_view(0))}}) {
    require(world_.mm->notifiers().register_notifier(mmu_).has_value(), "no notifier");
  }

  ~FaultFaultZap() override { world_.mm->notifiers().unregister_notifier(mmu_); }

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              fault();
              use();
            },
            [this] { fault(); },
            [this] {
              require(world_.mm->advise(world_.at(0), page_size, Advice::remove).has_value(),
                      "a discard failed");
            }};
  }

  void check() override {
    check_table_itself();
    require(world_.source->fills() <= 2, "a page was filled twice (I40)");
    if (table_->translate(0))
      require(world_.backing->word(0).read().state() == PageState::present,
              "a page that was freed is mapped (I20)");
  }

 private:
  void fault() {
    const FaultResult result =
        handle_mm_fault(*world_.mm,
                        {.address = world_.at(0), .access = vm_read | vm_write, .mmu = &mmu_})
            .result;
    require(result == FaultResult::done, "a fault went wrong");
  }

  void use() {
    PageWord& word = world_.backing->word(0);
    vcpu_.access(*table_, 0, true, [&](const Translation&) {
      visible(&word, Access::read, "guest writes", std::source_location::current());
      const Unexplored at_once;
      require(word.read().state() == PageState::present, "a vCPU uses a freed page (I20, I36)");
    });
  }

  World world_;
  Stage2Mmu<EptFormat> mmu_;
};

/// A table alone, with page 0 behind one of several host pages, and what an invalidator does to it.
class TableScenario : public Stage2Scenario {
 protected:
  using Stage2Scenario::Stage2Scenario;

  static constexpr std::uint64_t host_of(std::uint64_t page) {
    return 0x100'0000'0000 + page * huge;
  }

  /// A fault on `address`, which the host page `current_` is behind; none once that is 0.
  void fault(std::uint64_t address, bool once = false) {
    for (;;) {
      const std::uint64_t snapshot = sequence_.snapshot();
      const std::uint64_t page = current_.load();
      if (page == 0) return;
      const MapOutcome outcome = table_->map({.address = address,
                                              .host = host_of(page) + address,
                                              .hva = address,
                                              .allowed = {true, true, true},
                                              .write = true},
                                             sequence_, snapshot);
      if (outcome == MapOutcome::installed || outcome == MapOutcome::present || once) return;
      if (outcome == MapOutcome::in_progress)
        sequence_.wait(address, address + page_size);
      else
        mmu::before_retry();
    }
  }

  void use(std::uint64_t address) {
    vcpu_.access(*table_, address, true, [&](const Translation& found) {
      const std::uint64_t page = (found.host - host_of(0)) / huge;
      require(found.host == host_of(page) + address, "a translation leads elsewhere (I33)");
      visible(&freed_[page], Access::read, "guest access", std::source_location::current());
      const Unexplored at_once;
      require(!freed_[page].load(), "a vCPU uses a freed page (I20, I36)");
    });
  }

  /// Takes the page behind [start, end) away, frees it, and puts `next` in its place.
  void invalidate(std::uint64_t start, std::uint64_t end, std::uint64_t next) {
    sequence_.begin(start, end);
    table_->zap_range(start, end);
    freed_[current_.exchange(next)].store(true);
    sequence_.end(start, end);
  }

  void check_mapping(std::uint64_t address) {
    const auto found = table_->translate(address);
    require(!found || found->host == host_of(current_.load()) + address,
            "a page that was freed is mapped (I20)");
    check_table_itself();
    require(sequence_.count() == 0, "a range is left over (I22)");
  }

  InvalidateSeq sequence_;
  StdAtomics::atomic<std::uint64_t> current_{1};
  StdAtomics::atomic<bool> freed_[4]{};
};

class InstallInvalidators final : public TableScenario {
 public:
  InstallInvalidators() : TableScenario(page_size) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              fault(0, true);
              use(0);
            },
            [this] { invalidate(0, page_size, 2); }, [this] { invalidate(0, page_size, 3); }};
  }

  void check() override { check_mapping(0); }
};

/// The second fault may find the entry empty again while the first is between its two phases (I29).
class InstallInstall final : public TableScenario {
 public:
  InstallInstall() : TableScenario(page_size) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              fault(0, true);
              use(0);
            },
            [this] { fault(0, true); }, [this] { invalidate(0, page_size, 2); }};
  }

  void check() override { check_mapping(0); }
};

/// A huge leaf is split while one of its pages is taken away for good and another vCPU faults on it.
class SplitFaultZap final : public TableScenario {
 public:
  SplitFaultZap() : TableScenario(huge) {
    require(table_->map({.address = 0,
                         .host = host_of(1),
                         .hva = 0,
                         .allowed = {true, true, true},
                         .write = true,
                         .max_level = 2},
                        sequence_, sequence_.snapshot()) == MapOutcome::installed,
            "a huge leaf cannot be had");
  }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { require(table_->split_range(0, page_size).has_value(), "no split"); },
            [this] {
              use(0);
              fault(0);
              use(0);
            },
            [this] { invalidate(0, page_size, 0); }};
  }

  void check() override {
    require(!table_->translate(0), "a page that was freed is mapped (I20)");
    check_table_itself();
  }
};

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
    {"fault-fault-zap", "fault x fault x discard, with a stage-2 table", Designs::each,
     make_scenario<FaultFaultZap>},
    {"install-invalidators", "two-phase install x two invalidators", Designs::any,
     make_scenario<InstallInvalidators>},
    {"install-install", "two-phase install x another x invalidator", Designs::any,
     make_scenario<InstallInstall>},
    {"split-fault-zap", "split x fault x zap", Designs::any, make_scenario<SplitFaultZap>},
    {"dirty-write", "dirty log read x write by a TLB", Designs::any, make_scenario<DirtyBits>},
    {"dirty-write-protect", "the same by write protection", Designs::any,
     make_scenario<DirtyProtect>},
    {"dirty-zap", "dirty log read x write x zap", Designs::any, make_scenario<DirtyZap>},
};

} // namespace

std::span<const ScenarioInfo> stage2_scenarios() {
  return scenarios;
}

} // namespace slat::explore
