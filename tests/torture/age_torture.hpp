// Readers of a grace-period domain look at elements and at their age, counted in grace periods since
// the element was taken out of sight. Age 0 is in sight, 1 was taken out while the reader looked; any
// greater age is a grace period that did not wait. After the age histogram of rcutorture.
#pragma once

#include "mmu/reclaimer.hpp"
#include "torture.hpp"

#include <array>
#include <mutex>
#include <thread>

namespace slat::torture {

/// `Domain` has ReadGuard (made from the domain), synchronize(), call() and barrier().
template <class Domain> class AgeTorture {
 public:
  static constexpr unsigned old_age = 5; // when an element may be used again
  static constexpr std::size_t element_count = 64;

  AgeTorture(Domain& domain, bool readers_sleep) : domain_(&domain), readers_sleep_(readers_sleep) {
    for (Element& element : elements_) {
      element.owner = this;
      free_.push_back(&element);
    }
    current_ = take();
  }

  void read(Worker& worker) {
    typename Domain::ReadGuard section(*domain_);
    const Element* const element = current_.load(std::memory_order_acquire);
    const std::uint64_t stamp = element->stamp;
    if (worker.one_in(8)) { // nested, and ended out of order where the domain can
      const typename Domain::ReadGuard inner(*domain_);
      dawdle(worker);
    } else {
      dawdle(worker);
    }
    const unsigned age = element->age.load(std::memory_order_relaxed);
    check(age <= 1, "a reader saw an element {} grace periods after it was removed", age);
    check(element->stamp == stamp, "an element was reused under a reader");
    ages_[std::min<std::size_t>(age, ages_.size() - 1)].fetch_add(1, std::memory_order_relaxed);
  }

  void write(Worker& worker) {
    Element* const fresh = take();
    if (fresh == nullptr) {
      domain_->barrier(); // all are on their way
      return;
    }
    Element* const old = current_.exchange(fresh, std::memory_order_acq_rel);
    old->age.store(1, std::memory_order_relaxed);
    if (worker.one_in(2)) {
      for (unsigned age = 2; age <= old_age; ++age) {
        domain_->synchronize();
        old->age.store(age, std::memory_order_relaxed);
      }
      give_back(old);
    } else {
      domain_->call(*old, grow_older);
    }
  }

  [[nodiscard]] std::string summary() const {
    return fmt::format("ages seen: 0: {}, 1: {}, more: {}; {} elements published", ages_[0].load(),
                       ages_[1].load(), ages_[2].load(), stamps_.load());
  }

 private:
  struct Element : mmu::DeferredCall {
    AgeTorture* owner = nullptr;
    std::uint64_t stamp = 0; // plain: written while nobody may look
    std::atomic<unsigned> age{0};
  };

  static void grow_older(mmu::DeferredCall* head) {
    auto* const element = static_cast<Element*>(head);
    const unsigned age = element->age.load(std::memory_order_relaxed) + 1;
    element->age.store(age, std::memory_order_relaxed);
    if (age < old_age)
      element->owner->domain_->call(*element, grow_older);
    else
      element->owner->give_back(element);
  }

  Element* take() {
    const std::lock_guard guard(mutex_);
    if (free_.empty()) return nullptr;
    Element* const element = free_.back();
    free_.pop_back();
    element->stamp = ++stamps_;
    element->age.store(0, std::memory_order_relaxed);
    return element;
  }

  void give_back(Element* element) {
    const std::lock_guard guard(mutex_);
    free_.push_back(element);
  }

  void dawdle(Worker& worker) const {
    const std::uint64_t mood = worker.below(64);
    if (readers_sleep_ && mood == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(worker.below(300)));
    else if (mood < 8)
      std::this_thread::yield();
  }

  Domain* const domain_;
  const bool readers_sleep_;
  std::array<Element, element_count> elements_;
  std::atomic<Element*> current_{nullptr};
  std::mutex mutex_;
  std::vector<Element*> free_; // guarded by mutex_
  std::atomic<std::uint64_t> stamps_{0};
  std::array<std::atomic<std::uint64_t>, 3> ages_{};
};

} // namespace slat::torture
