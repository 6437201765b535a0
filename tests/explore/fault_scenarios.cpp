// Faults beside changes of the map, on an address space of each design.
#include "world.hpp"

#include "mmu/page_store.hpp"

#include <algorithm>
#include <array>

namespace slat::explore {

namespace {

/// A guest that touches one page, as a vCPU does: until the access succeeds or there is nothing.
void touch(World& world, std::uint64_t page, std::uint32_t access = vm_read | vm_write) {
  const FaultResult result = world.fault(page, access);
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

/// A fault brings its neighbour in, which somebody unmaps.
class FaultAroundUnmap final : public Scenario {
 public:
  explicit FaultAroundUnmap(VmaLockDesign design) : world_(design, 2) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              require(world_.fault_around(0, 0, 2) == FaultResult::done, "a fault went wrong");
            },
            [this] {
              world_.unmap(1, 1);
              // A speculation may have claimed the page, to find out that it came too late.
              require(world_.backing->word(1).read().state() != PageState::present,
                      "a page has content after its unmap (I13)");
            }};
  }

  void check() override {
    world_.guest->check_all();
    world_.check_empty(1);
    require(world_.backing->resident_pages() == 1, "resident pages are counted wrongly");
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

/// Keeps pages as they are.
class PlainStore final : public PageStore {
 public:
  [[nodiscard]] std::optional<std::uint32_t> put(PageBytes page) override {
    const Unexplored at_once;
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot)
      if (!slots_[slot]) {
        slots_[slot].emplace();
        std::ranges::copy(page, slots_[slot]->begin());
        return slot;
      }
    return std::nullopt;
  }

  [[nodiscard]] FillResult load(std::uint32_t slot, PageRoom into) override {
    const Unexplored at_once;
    require(slots_[slot].has_value(), "a slot is read that is free");
    std::ranges::copy(*slots_[slot], into.begin());
    return FillResult::filled;
  }

  void drop(std::uint32_t slot) override {
    const Unexplored at_once;
    require(slots_[slot].has_value(), "a slot is dropped twice");
    slots_[slot].reset();
  }

  [[nodiscard]] std::size_t used() const {
    return std::size_t(
        std::ranges::count_if(slots_, [](const auto& slot) { return slot.has_value(); }));
  }

 private:
  std::array<std::optional<std::array<std::byte, page_size>>, 4> slots_;
};

/// Who does something at the same time with a page that has content.
enum class Actor : unsigned {
  guest,   // faults and writes
  reclaim, // the page goes into the store
  migrate, // the page goes to another place
};

/// Nothing that the guest wrote is lost.
template <Actor... actors> class ContentStays final : public Scenario {
 public:
  explicit ContentStays(VmaLockDesign design) : world_(design, 1) {
    world_.backing->set_store(store_);
    require(world_.fault(0) == FaultResult::done, "the first fault went wrong");
    expected_ = content(*world_.backing, 0);
  }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { act(actors); }...};
  }

  void check() override {
    constexpr std::uint64_t place = ((actors == Actor::migrate) || ...) ? 1 : 0;
    world_.guest->check_all();
    if (place != 0)
      require(world_.backing->word(0).read().raw() == 0, "the place that was left is not empty");
    const bool reclaimed = world_.backing->word(place).read().state() == PageState::reclaimed;
    require(store_.used() == (reclaimed ? 1u : 0u), "a slot without a page");
    touch(world_, 0);
    require(content(*world_.backing, place) == expected_, "a write is lost (I38)");
    require(world_.source->fills() == 1, "the source has filled a page that had content (I40)");
    require(store_.used() == 0, "a slot without a page");
  }

 private:
  void act(Actor actor) {
    switch (actor) {
    case Actor::guest:
      touch(world_, 0);
      if (const auto written = world_.guest->write(world_.at(0))) expected_ = *written;
      return;
    case Actor::reclaim:
      require(world_.mm->reclaim(world_.at(0), page_size).has_value(), "reclaim() failed");
      return;
    case Actor::migrate:
      require(world_.mm->migrate({.address = world_.at(0), .length = page_size, .pgoff = 1})
                  .has_value(),
              "migrate() failed");
      return;
    }
  }

  PlainStore store_;
  World world_;
  std::uint64_t expected_ = 0;
};

/// A guest that faults and writes while its writes begin to be tracked: none is missed.
class FaultTrack final : public Scenario {
 public:
  explicit FaultTrack(VmaLockDesign design) : world_(design, 1) {
    require(world_.fault(0) == FaultResult::done, "the first fault went wrong");
  }

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              touch(world_, 0, vm_read);
              if (!world_.guest->write(world_.at(0))) {
                touch(world_, 0, vm_write);
                (void)world_.guest->write(world_.at(0));
              }
            },
            [this] { world_.track_writes(); }};
  }

  void check() override {
    world_.guest->check_all();
    world_.check_unwritten();
    require(!world_.unwritten() || !world_.guest->shows_writable(0), "a tracked page is writable");
    touch(world_, 0, vm_read);
    world_.check_unwritten();
    require(!world_.unwritten() || !world_.guest->shows_writable(0), "a tracked page is writable");
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
    {"fault-around-unmap", "fault with a window x unmap of a neighbour", Designs::each,
     make_scenario<FaultAroundUnmap>},
    {"fault-remap", "fault of a source that sleeps x unmap, map", Designs::each,
     make_scenario<FaultRemap>},
    {"fault-fault-remove", "fault x fault x discard", Designs::each,
     make_scenario<FaultFaultRemove>},
    {"fault-reclaim", "fault, guest write x reclaim into a store", Designs::each,
     make_scenario<ContentStays<Actor::guest, Actor::reclaim>>},
    {"fault-migrate", "fault, guest write x migration to another place", Designs::each,
     make_scenario<ContentStays<Actor::guest, Actor::migrate>>},
    {"reclaim-migrate", "reclaim into a store x migration to another place", Designs::each,
     make_scenario<ContentStays<Actor::reclaim, Actor::migrate>>},
    {"fault-track", "fault, guest write x write tracking", Designs::each,
     make_scenario<FaultTrack>},
    {"commit-adjust", "(speculative) commit x protect", Designs::each, make_scenario<FaultProtect>},
    {"commit-cut", "(speculative) commit x unmap of a neighbour", Designs::each,
     make_scenario<FaultCut>},
};

} // namespace

std::span<const ScenarioInfo> fault_scenarios() {
  return scenarios;
}

} // namespace slat::explore
