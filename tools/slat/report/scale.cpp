#include "slat/report/scale.hpp"

#include <algorithm>
#include <cmath>

namespace slat::reporting {

namespace {

constexpr double slack = 1e-9; // of rounding

double clamped(double place) {
  return std::isfinite(place) ? std::clamp(place, 0.0, 1.0) : 0;
}

bool is_usable(double value) {
  return std::isfinite(value) && std::abs(value) < 1e300;
}

} // namespace

double round_up(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 2.5, 5.0})
    if (value <= step * power * (1 + slack)) return step * power;
  return 10 * power;
}

LinearScale::LinearScale(double low, double high)
    : low_(is_usable(low) ? low : 0), high_(is_usable(high) ? high : 1) {
  if (!(high_ > low_)) high_ = low_ + 1;
}

LinearScale LinearScale::from_zero(double most) {
  if (!is_usable(most) || most < 1e-300) return {0, 1};
  // Four intervals of a round size: no more of the area is wasted than of one of them.
  const double step = round_up(most / 4);
  return {0, step * std::ceil(most / step - slack)};
}

double LinearScale::place(double value) const {
  return clamped((value - low_) / (high_ - low_));
}

std::vector<Tick> LinearScale::ticks(unsigned most,
                                     const std::function<std::string(double)>& label) const {
  const double range = high_ - low_;
  double step = round_up(range / std::max(most, 2u));
  while (std::floor(range / step + slack) + 1 > std::max(most, 2u)) step = round_up(step * 1.01);
  std::vector<Tick> ticks;
  const double first = std::ceil(low_ / step - slack);
  for (unsigned i = 0; i < std::max(most, 2u); ++i) {
    const double value = (first + i) * step;
    if (value > high_ + step * slack) break;
    ticks.push_back({place(value), label(value)});
  }
  return ticks;
}

LogScale::LogScale(double low, double high)
    : low_(is_usable(low) && low > 1e-300 ? low : 1), high_(is_usable(high) ? high : low_ * 10) {
  if (!(high_ > low_)) high_ = low_ * 10;
}

double LogScale::place(double value) const {
  if (!(value > 0)) return 0;
  return clamped(std::log(value / low_) / std::log(high_ / low_));
}

std::vector<Tick> LogScale::ticks(unsigned most,
                                  const std::function<std::string(double)>& label) const {
  most = std::max(most, 2u);
  const int first = int(std::floor(std::log10(low_) + slack));
  const int last = int(std::ceil(std::log10(high_) - slack));
  const auto inside = [&](double value) {
    return value >= low_ * (1 - slack) && value <= high_ * (1 + slack);
  };
  const auto with = [&](const std::vector<double>& factors, int stride) {
    std::vector<Tick> ticks;
    for (int power = first; power <= last; power += stride)
      for (const double factor : factors)
        if (const double value = factor * std::pow(10, power); inside(value))
          ticks.push_back({place(value), label(value)});
    return ticks;
  };
  for (const std::vector<double>& factors : {std::vector<double>{1, 2, 5}, {1, 3}, {1}})
    if (auto ticks = with(factors, 1); ticks.size() <= most) return ticks;
  for (int stride = 2;; ++stride)
    if (auto ticks = with({1}, stride); ticks.size() <= most) return ticks;
}

} // namespace slat::reporting
