// A device that has pages pinned beside their discard (I26).
#include "world.hpp"

#include "mmu/translation_cache.hpp"

namespace slat::explore {

namespace {

class DmaDiscard final : public Scenario {
 public:
  explicit DmaDiscard(VmaLockDesign design) : world_(design, 1), cache_(*world_.mm) {
    require(world_.mm->notifiers().register_notifier(cache_).has_value(), "no notifier");
    require(world_.fault(0) == FaultResult::done, "a fault went wrong");
    // The translation is cached: the pin needs no VMA.
    require(cache_.pin(world_.at(0), 8, vm_read).has_value(), "a pin failed");
  }

  ~DmaDiscard() override { world_.mm->notifiers().unregister_notifier(cache_); }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { write(0x100); },
            [this] {
              require(world_.mm->advise(world_.at(0), page_size, Advice::remove).has_value(),
                      "a discard failed");
            }};
  }

  void check() override {
    require(cache_.pins() == 0, "a pin is left over");
    world_.guest->check_all();
  }

 private:
  void write(std::uint64_t value) {
    auto pin = cache_.pin(world_.at(0), 8, vm_read | vm_write);
    require(pin.has_value(), "a pin failed");
    PageWord& word = world_.backing->word(0);
    visible(&word, Access::write, "device writes", std::source_location::current());
    set_content(*world_.backing, 0, value);
    visible(&word, Access::read, "device reads", std::source_location::current());
    {
      const Unexplored at_once;
      require(word.read().state() == PageState::present && content(*world_.backing, 0) == value,
              "a pinned page was freed (I26)");
      set_content(*world_.backing, 0, 0x900); // as a fill has it: the page's own number below
    }
  }

  World world_;
  TranslationCache cache_;
};

/// The range of an unmap, with the pin by way of a lookup.
class DmaUnmap final : public Scenario {
 public:
  explicit DmaUnmap(VmaLockDesign design) : world_(design, 1), cache_(*world_.mm) {
    require(world_.mm->notifiers().register_notifier(cache_).has_value(), "no notifier");
    require(world_.fault(0) == FaultResult::done, "a fault went wrong");
  }

  ~DmaUnmap() override { world_.mm->notifiers().unregister_notifier(cache_); }

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              const auto pin = cache_.try_pin(world_.at(0), 8, vm_read);
              if (!pin) return;
              visible(&world_.backing->word(0), Access::read, "device reads",
                      std::source_location::current());
              const Unexplored at_once;
              require(world_.backing->word(0).read().state() == PageState::present,
                      "a pinned page was freed (I26)");
            },
            [this] {
              world_.unmap(0, 1);
              require(!cache_.try_pin(world_.at(0), 8, vm_read), "pinned after the unmap (I26)");
            }};
  }

  void check() override {
    require(cache_.pins() == 0, "a pin is left over");
    world_.check_empty(0);
  }

 private:
  World world_;
  TranslationCache cache_;
};

constexpr ScenarioInfo scenarios[] = {
    {"dma-discard", "device DMA x discard", Designs::each, make_scenario<DmaDiscard>},
    {"dma-unmap", "device pin by lookup x unmap", Designs::each, make_scenario<DmaUnmap>},
};

} // namespace

std::span<const ScenarioInfo> device_scenarios() {
  return scenarios;
}

} // namespace slat::explore
