// A device that has pages pinned beside their discard (I26).
#include "world.hpp"

#include "mmu/translation_cache.hpp"

namespace slat::explore {

namespace {

/// A page that is present, and a device.
class DeviceScenario : public Scenario {
 public:
  ~DeviceScenario() override { world_.mm->notifiers().unregister_notifier(cache_); }

  DeviceScenario(const DeviceScenario&) = delete;
  DeviceScenario& operator=(const DeviceScenario&) = delete;

 protected:
  enum class Translation : bool { unknown, cached }; // a pin needs no VMA then

  DeviceScenario(VmaLockDesign design, Translation translation)
      : world_(design, 1), cache_(*world_.mm) {
    require(world_.mm->notifiers().register_notifier(cache_).has_value(), "no notifier");
    require(world_.fault(0) == FaultResult::done, "a fault went wrong");
    if (translation == Translation::cached)
      require(cache_.pin(world_.at(0), 8, vm_read).has_value(), "a pin failed");
  }

  /// The device's part: its page is pinned while it writes.
  void device_writes(std::uint64_t value) {
    auto pin = cache_.pin(world_.at(0), 8, vm_read | vm_write);
    require(pin.has_value(), "a pin failed");
    visible(&world_.backing->word(0), Access::write, "device writes",
            std::source_location::current());
    *reinterpret_cast<volatile std::uint64_t*>(pin->bytes().data()) = value;
  }

  World world_;
  TranslationCache cache_;
};

class DmaDiscard final : public DeviceScenario {
 public:
  explicit DmaDiscard(VmaLockDesign design) : DeviceScenario(design, Translation::cached) {}

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
};

/// What a device writes while the page goes elsewhere is there afterwards.
class DmaMigrate final : public DeviceScenario {
 public:
  explicit DmaMigrate(VmaLockDesign design) : DeviceScenario(design, Translation::cached) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] { device_writes(value); },
            [this] {
              require(world_.mm->migrate({.address = world_.at(0), .length = page_size, .pgoff = 1})
                          .has_value(),
                      "migrate() failed");
            }};
  }

  void check() override {
    require(cache_.pins() == 0, "a pin is left over");
    require(world_.backing->word(0).read().raw() == 0, "the place that was left is not empty");
    require(content(*world_.backing, 1) == value, "a device's write is lost (I26)");
  }

 private:
  static constexpr std::uint64_t value = 0x100;
};

/// The range of an unmap, with the pin by way of a lookup.
class DmaUnmap final : public DeviceScenario {
 public:
  explicit DmaUnmap(VmaLockDesign design) : DeviceScenario(design, Translation::unknown) {}

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
};

/// A device that writes while the writes to its page begin to be tracked.
class DmaTrack final : public DeviceScenario {
 public:
  explicit DmaTrack(VmaLockDesign design) : DeviceScenario(design, Translation::cached) {}

  std::vector<std::function<void()>> bodies() override {
    return {[this] { device_writes(0x900); }, // not what the source gives

            [this] { world_.track_writes(); }};
  }

  void check() override {
    require(cache_.pins() == 0, "a pin is left over");
    world_.check_unwritten();
  }
};

constexpr ScenarioInfo scenarios[] = {
    {"dma-discard", "device DMA x discard", Designs::each, make_scenario<DmaDiscard>},
    {"dma-migrate", "device DMA x migration to another place", Designs::each,
     make_scenario<DmaMigrate>},
    {"dma-track", "device DMA x write tracking", Designs::each, make_scenario<DmaTrack>},
    {"dma-unmap", "device pin by lookup x unmap", Designs::each, make_scenario<DmaUnmap>},
};

} // namespace

std::span<const ScenarioInfo> device_scenarios() {
  return scenarios;
}

} // namespace slat::explore
