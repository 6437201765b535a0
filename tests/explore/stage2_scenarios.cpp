// Slat's own stage-2 table: faults, splits and invalidations beside each other.
#include "stage2_world.hpp"

#include "mmu/stage2/stage2_mmu.hpp"

namespace slat::explore {

namespace {

constexpr std::uint64_t huge = EptFormat::span(2);

/// Two faults through all of the fault path, and an access by what they install, beside a discard.
class FaultFaultZap final : public Stage2Scenario {
 public:
  explicit FaultFaultZap(VmaLockDesign design)
      : Stage2Scenario(page_size), world_(design, 1),
        mmu_(*table_, world_.mm->notifiers().sequence(),
             {{.guest = 0, .start = world_.at(0), .end = world_.at(1)}}) {
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

constexpr ScenarioInfo scenarios[] = {
    {"fault-fault-zap", "fault x fault x discard, with a stage-2 table", Designs::each,
     make_scenario<FaultFaultZap>},
    {"install-invalidators", "two-phase install x two invalidators", Designs::any,
     make_scenario<InstallInvalidators>},
    {"install-install", "two-phase install x another x invalidator", Designs::any,
     make_scenario<InstallInstall>},
    {"split-fault-zap", "split x fault x zap", Designs::any, make_scenario<SplitFaultZap>},
};

} // namespace

std::span<const ScenarioInfo> stage2_scenarios() {
  return scenarios;
}

} // namespace slat::explore
