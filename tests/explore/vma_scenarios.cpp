// Lookups of VMAs whose objects are used again at once, in this mm and in another.
#include "world.hpp"

namespace slat::explore {

namespace {

/// A VMA found in one mm turns up in another while it is being locked (I01, I05).
class LookupRecycle final : public Scenario {
 public:
  explicit LookupRecycle(VmaLockDesign design) : there_(design, 1) {
    there_.unmap(0, 1); // the same address: bounds tell nothing
    here_.emplace(design, 1);
  }

  std::vector<std::function<void()>> bodies() override {
    return {[this] { look(); },
            [this] {
              here_->unmap(0, 1);
              there_.map(0, 1); // the same object
            },
            [this] { look(); }};
  }

  void check() override {
    require(here_->mm->vmas().empty() && there_.mm->vmas().size() == 1, "VMAs are mixed up");
    check_unlocked();
  }

 private:
  void look() {
    AddressSpace& mm = *here_->mm;
    const Srcu::ReadGuard section(mm.fault_srcu());
    const VmaTicket ticket = mm.lock_vma_under_rcu(here_->at(0));
    if (!ticket) return;
    require(ticket.view.backing == here_->backing && ticket.view.contains(here_->at(0)),
            "a VMA was locked that is not the one looked up (I01)");
    // Speculation holds nothing still; the others do (I02).
    require(mm.vma_lock() == VmaLockDesign::spf || mm.vma_now(ticket) == ticket.view,
            "a VMA changed while it was locked (I02)");
    mm.vma_end_read(ticket);
  }

  /// A writer gets in everywhere: no count was left behind.
  void check_unlocked() {
    there_.unmap(0, 1);
    here_->map(0, 1);
    here_->unmap(0, 1);
  }

  World there_;
  std::optional<World> here_;
};

/// The other mm ends, too, while a reader may still hold its VMA by mistake (I05).
class LookupOtherEnds final : public Scenario {
 public:
  explicit LookupOtherEnds(VmaLockDesign design)
      : here_(design, 1, 0), there_(std::make_unique<World>(design, 1, 1)) {
    there_->unmap(0, 1);
  }

  std::vector<std::function<void()>> bodies() override {
    return {[this] {
              const Srcu::ReadGuard section(here_.mm->fault_srcu());
              const VmaTicket ticket = here_.mm->lock_vma_under_rcu(here_.at(0));
              if (!ticket) return;
              require(ticket.view.backing == here_.backing, "a VMA of another mm (I01)");
              here_.mm->vma_end_read(ticket);
            },
            [this] {
              here_.unmap(0, 1);
              there_->map(0, 1);
              there_->unmap(0, 1);
              there_->mm->notifiers().unregister_notifier(*there_->guest);
              there_->mm.reset();
            }};
  }

 private:
  World here_;
  std::unique_ptr<World> there_;
};

constexpr ScenarioInfo scenarios[] = {
    {"lookup-recycle", "lookup x unmap and map in another mm", Designs::each,
     make_scenario<LookupRecycle>},
    {"lookup-other-ends", "lookup x recycle x the end of the other mm", Designs::recycling,
     make_scenario<LookupOtherEnds>},
};

} // namespace

std::span<const ScenarioInfo> vma_scenarios() {
  return scenarios;
}

} // namespace slat::explore
