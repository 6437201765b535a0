// Scales of charts: from a value to a place between 0 and 1, and where the ticks go.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace slat::reporting {

struct Tick {
  double at; // 0 to 1
  std::string label;
};

/// [low, high] to [0, 1]. Values outside are clamped; a NaN is 0.
class LinearScale {
 public:
  /// Where high is not above low it is taken to be.
  LinearScale(double low, double high);
  /// From 0 to a round number at or above `most`.
  static LinearScale from_zero(double most);

  [[nodiscard]] double place(double value) const;

  [[nodiscard]] double low() const { return low_; }

  [[nodiscard]] double high() const { return high_; }

  /// At round values (1, 2 or 5 times a power of ten), `most` (2 up) at most, and labelled by `label`.
  [[nodiscard]] std::vector<Tick> ticks(unsigned most,
                                        const std::function<std::string(double)>& label) const;

 private:
  double low_, high_;
};

/// The same by logarithms. Values that are not positive are at 0.
class LogScale {
 public:
  /// 0 < low < high, else both are made so.
  LogScale(double low, double high);

  [[nodiscard]] double place(double value) const;

  /// Powers of ten, or every second one and so on where these are more than `most` (2 up); with 2 and 5 times them where
  /// there is room.
  [[nodiscard]] std::vector<Tick> ticks(unsigned most,
                                        const std::function<std::string(double)>& label) const;

 private:
  double low_, high_;
};

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `value`, which is positive.
[[nodiscard]] double round_up(double value);

} // namespace slat::reporting
