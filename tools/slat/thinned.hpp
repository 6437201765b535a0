// Thinned: samples of something that may go on for ever, in bounded memory: when it is full, every other one goes, and from
// then on half as many are taken.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace slat::tool {

template <class T> class Thinned {
 public:
  using Duration = std::chrono::steady_clock::duration;

  struct Sample {
    Duration at;
    T value;
  };

  /// `capacity` is even, and at least 2.
  Thinned(Duration interval, std::size_t capacity) : interval_(interval), capacity_(capacity) {}

  [[nodiscard]] bool is_due(Duration now) const { return now >= next_; }

  /// The next one is due an interval later, and not before `rest` has passed. Times ascend.
  void add(Duration now, T value, Duration rest = Duration::zero()) {
    if (samples_.size() >= capacity_) thin();
    samples_.push_back({now, std::move(value)});
    next_ = now + std::max(interval_, rest);
  }

  [[nodiscard]] const std::vector<Sample>& samples() const { return samples_; }

  [[nodiscard]] Duration interval() const { return interval_; }

 private:
  void thin() {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < samples_.size(); i += 2) {
      if (i != kept) samples_[kept] = std::move(samples_[i]);
      ++kept;
    }
    samples_.erase(samples_.begin() + std::ptrdiff_t(kept), samples_.end());
    interval_ *= 2;
  }

  Duration interval_;
  const std::size_t capacity_;
  Duration next_{};
  std::vector<Sample> samples_;
};

} // namespace slat::tool
