// Faults beside changes of the map, on an address space of each design.
#include "world.hpp"

namespace slat::explore {

namespace {

/// A guest that touches one page, as a vCPU does: until the access succeeds or there is nothing.
void touch(World& world, std::uint64_t page) {
  const FaultResult result = world.fault(page);
  require(result == FaultResult::done || result == FaultResult::no_vma, "a fault went wrong");
  if (result == FaultResult::done) world.guest->access(world.at(page));
}

/// The page goes, and with it the VMA and, after a grace period, the backing.
class FaultUnmap final : public Scenario {
 public:
  explicit FaultUnmap(VmaLockDesign design) : world_(design, 1) { world_.give_up_backing(); }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { touch(world_, 0); },
            [this] {
              world_.unmap(0, 1);
              world_.mm->fault_srcu().barrier(); // runs what frees the VMA and the backing
            }};
  }

  void check() override {
    require(!world_.guest->shows(0), "a page is visible after its unmap (I13, I20)");
    require(world_.mm->vmas().empty(), "a VMA is left over");
  }

 private:
  World world_;
};

/// The same with a backing that stays, a source that sleeps, and another mapping in the old one's place.
class FaultRemap final : public Scenario {
 public:
  explicit FaultRemap(VmaLockDesign design) : world_(design, 1, 0, true) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] { touch(world_, 0); },
            [this] {
              world_.unmap(0, 1);
              // A speculation may have claimed the page, to find out that it came too late.
              require(world_.backing->word(0).read().state() != PageState::present,
                      "a page has content after its unmap (I13)");
              world_.map(0, 1);
            }};
  }

  void check() override {
    world_.guest->check_all();
    require(world_.backing->resident_pages() ==
                (world_.backing->word(0).read().state() == PageState::present ? 1u : 0u),
            "resident pages are counted wrongly");
  }

 private:
  World world_;
};

/// Two faults on one page and a discard: one fill each time that it is empty (I40).
class FaultFaultRemove final : public Scenario {
 public:
  explicit FaultFaultRemove(VmaLockDesign design) : world_(design, 1) {}

  std::vector<std::function<void()>> bodies() override {
    const auto guest = [this] { touch(world_, 0); };
    return {guest, guest, [this] {
              require(world_.mm->advise(world_.at(0), page_size, Advice::remove).has_value(),
                      "a discard failed");
            }};
  }

  void check() override {
    world_.guest->check_all();
    require(world_.source->fills() <= 2, "a page was filled twice (I40)");
    require(world_.counters.sum(Counter::filled_pages) -
                    world_.counters.sum(Counter::freed_pages) ==
                world_.backing->resident_pages(),
            "what was filled and not freed is not what is resident");
  }

 private:
  World world_;
};

/// A mapping of two pages loses the right to write to the first, and is cut in two for it.
class FaultProtect final : public Scenario {
 public:
  explicit FaultProtect(VmaLockDesign design) : world_(design, 2) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              const FaultResult result = world_.fault(0);
              require(result == FaultResult::done || result == FaultResult::denied,
                      "a fault went wrong");
              if (result == FaultResult::done) world_.guest->access(world_.at(0));
            },
            [this] {
              require(world_.mm->protect(world_.at(0), page_size, vm_read).has_value(),
                      "protect() failed");
              require(!world_.guest->shows_writable(0), "writable after protect() (I14)");
            }};
  }

  void check() override {
    world_.guest->check_all();
    require(!world_.guest->shows_writable(0), "writable after protect() (I14)");
    require(world_.fault(1) == FaultResult::done, "the other page cannot be had");
    world_.guest->check_all();
  }

 private:
  World world_;
};

/// A fault in the part of a mapping that stays, while the other part goes.
class FaultCut final : public Scenario {
 public:
  explicit FaultCut(VmaLockDesign design) : world_(design, 2) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              require(world_.fault(1) == FaultResult::done, "a fault went wrong");
              world_.guest->access(world_.at(1));
            },
            [this] { world_.unmap(0, 1); }};
  }

  void check() override {
    world_.guest->check_all();
    require(world_.guest->shows(1), "a page that stays has gone");
    world_.check_empty(0);
  }

 private:
  World world_;
};

constexpr ScenarioInfo scenarios[] = {
    {"fault-unmap", "fault x unmap x grace period", Designs::each, make_scenario<FaultUnmap>},
    {"fault-remap", "fault of a source that sleeps x unmap, map", Designs::each,
     make_scenario<FaultRemap>},
    {"fault-fault-remove", "fault x fault x discard", Designs::each,
     make_scenario<FaultFaultRemove>},
    {"commit-adjust", "(speculative) commit x protect", Designs::each, make_scenario<FaultProtect>},
    {"commit-cut", "(speculative) commit x unmap of a neighbour", Designs::each,
     make_scenario<FaultCut>},
};

} // namespace

std::span<const ScenarioInfo> fault_scenarios() {
  return scenarios;
}

} // namespace slat::explore
