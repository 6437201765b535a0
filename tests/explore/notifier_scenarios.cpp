// NotifierChain: registration and unregistration beside ranges.
#include "scenario.hpp"

#include "mmu/notifier.hpp"

namespace slat::explore {

namespace {

using namespace mmu;

constexpr NotifierRange one_page{0x1000, 0x2000, InvalidateEvent::zap};
constexpr NotifierRange outer_range{0x3000, 0x5000, InvalidateEvent::unmap};
constexpr NotifierRange inner_range{0x3000, 0x4000,
                                    InvalidateEvent::protect}; // always inside of that

/// Counts, and knows whether it may be called.
class Subscriber final : public Notifier {
 public:
  bool invalidate_range_start(const NotifierRange& range) override {
    in_callback();
    ++started_;
    if (range.event == outer_range.event) in_outer_ = true;
    require(range.event != inner_range.event || in_outer_,
            "told of a range inside of one that it has missed (I19)");
    return true;
  }

  void invalidate_range_end(const NotifierRange& range) override {
    in_callback();
    if (range.event == outer_range.event) in_outer_ = false;
    require(started_ > 0, "an end without its start (I18)");
    --started_;
  }

  bool clear_young(std::uintptr_t, std::uintptr_t) override {
    in_callback();
    return true;
  }

  void leave() { gone_ = true; }

  [[nodiscard]] int started() const { return started_; }

 private:
  void in_callback() {
    visible(this, Access::read, "callback", std::source_location::current());
    require(!gone_, "a callback of a subscriber that has been unregistered (I23)");
  }

  bool gone_ = false;
  bool in_outer_ = false;
  int started_ = 0;
};

class Chain : public Scenario {
 protected:
  void range(const NotifierRange& range) { chain_.invalidate_range(range).end(); }

  void join(Subscriber& subscriber) {
    require(chain_.register_notifier(subscriber).has_value(), "a registration failed");
  }

  void leave(Subscriber& subscriber) {
    chain_.unregister_notifier(subscriber);
    visible(&subscriber, Access::write, "is freed", std::source_location::current());
    require(subscriber.started() == 0, "unregistered between start and end (I19)");
    subscriber.leave();
  }

  Counters counters_;
  NotifierChain chain_{counters_};
  Subscriber stays_, comes_and_goes_;
};

class UnregisterCallback final : public Chain {
 public:
  UnregisterCallback() {
    join(stays_);
    join(comes_and_goes_);
  }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { range(one_page); }, [this] { leave(comes_and_goes_); },
            [this] { (void)chain_.clear_young(0x1000, 0x2000); }};
  }

  void check() override {
    require(stays_.started() == 0, "a start without its end (I18)");
    require(chain_.sequence().count() == 0, "a range is left over (I22)");
  }
};

class RegisterRange final : public Chain {
 public:
  RegisterRange() { join(stays_); }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { range(one_page); }, [this] { join(comes_and_goes_); },
            [this] {
              auto outer = chain_.invalidate_range(outer_range);
              range(inner_range); // must not queue up behind the registration
            }};
  }

  void check() override {
    require(stays_.started() == 0 && comes_and_goes_.started() == 0, "a start without its end");
    range(one_page);
    require(chain_.sequence().count() == 0, "a range is left over (I22)");
  }
};

constexpr ScenarioInfo scenarios[] = {
    {"unregister-callback", "unregister x range x aging", Designs::any,
     make_scenario<UnregisterCallback>},
    {"register-range", "register x range x nested ranges", Designs::any,
     make_scenario<RegisterRange>},
};

} // namespace

std::span<const ScenarioInfo> notifier_scenarios() {
  return scenarios;
}

} // namespace slat::explore
