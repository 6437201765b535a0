#include "slat/report/memory_image.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

namespace slat::reporting {

namespace {

struct Colour {
  std::uint8_t red, green, blue;
};

struct StateStyle {
  std::string_view state;
  std::string_view label;
  Colour colour;
};

/// From the palette of Okabe and Ito, which can be told apart by the colour-blind.
constexpr std::array styles{
    StateStyle{"absent", "absent", {0x80, 0x80, 0x80}},
    StateStyle{"reclaimed", "reclaimed", {0xf0, 0xe4, 0x42}},
    StateStyle{"poisoned", "poisoned", {0x6a, 0x1b, 0x9a}},
    StateStyle{"unmapped", "resident, not mapped", {0x9a, 0x9a, 0x9a}},
    StateStyle{"mapped", "mapped", {0x56, 0xb4, 0xe9}},
    StateStyle{"young", "used", {0x00, 0x9e, 0x73}},
    StateStyle{"dirty", "written", {0xd5, 0x5e, 0x00}},
    StateStyle{"tracked", "write-protected", {0xcc, 0x79, 0xa7}},
};

const StateStyle& style_of(std::string_view state) {
  static constexpr StateStyle unknown{"", "", {0x33, 0x33, 0x33}};
  const auto found = std::ranges::find(styles, state, &StateStyle::state);
  return found == styles.end() ? unknown : *found;
}

double linear(std::uint8_t channel) {
  return std::pow(channel / 255.0, 2.2);
}

std::uint8_t shown(double light) {
  return std::uint8_t(std::lround(255 * std::pow(std::clamp(light, 0.0, 1.0), 1 / 2.2)));
}

Pixel pixel_of(const MemorySteps& memory, const MemorySteps::Step& step, std::size_t slice) {
  double red = 0, green = 0, blue = 0, present = 0, all = 0;
  for (std::size_t state = 0; state < memory.states.size(); ++state) {
    if (step.pages[state].empty()) continue;
    const double pages = step.pages[state][slice];
    all += pages;
    if (state == 0) continue;
    const Colour& colour = style_of(memory.states[state]).colour;
    red += pages * linear(colour.red);
    green += pages * linear(colour.green);
    blue += pages * linear(colour.blue);
    present += pages;
  }
  if (!(present > 0)) return {};
  return {shown(red / present), shown(green / present), shown(blue / present),
          std::uint8_t(std::lround(255 * present / all))};
}

} // namespace

std::string state_label(std::string_view state) {
  const StateStyle& style = style_of(state);
  return std::string(style.label.empty() ? state : style.label);
}

std::string state_css(std::string_view state) {
  if (state == "absent") return "var(--absent)";
  const Colour& colour = style_of(state).colour;
  return fmt::format("#{:02x}{:02x}{:02x}", colour.red, colour.green, colour.blue);
}

Picture memory_image(const MemorySteps& memory) {
  const std::size_t steps = memory.steps.size();
  const double end = memory.steps.back().time_s;
  // Steps are nearly as far apart as each other: a column for each, and more where they are few.
  const std::size_t columns = steps < 80 ? 3 * steps : std::min<std::size_t>(steps, 480);
  Picture picture(columns, memory.slices);
  std::size_t step = 0;
  for (std::size_t x = 0; x < columns; ++x) {
    const double time = end * (double(x) + 0.5) / double(columns);
    while (step + 1 < steps && memory.steps[step + 1].time_s <= time) ++step;
    for (std::size_t slice = 0; slice < memory.slices; ++slice)
      picture.at(x, memory.slices - 1 - slice) = pixel_of(memory, memory.steps[step], slice);
  }
  return picture;
}

std::string share_digits(const MemorySteps::Step& step, std::size_t state, std::size_t slices,
                         std::size_t rows) {
  constexpr std::string_view digits =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
  std::string out;
  for (std::size_t row = 0; row < rows; ++row) {
    double of_state = 0, all = 0;
    for (std::size_t slice = row * slices / rows; slice < (row + 1) * slices / rows; ++slice) {
      of_state += step.pages[state][slice];
      for (const std::vector<double>& pages : step.pages)
        if (!pages.empty()) all += pages[slice];
    }
    out += digits[all > 0 ? std::size_t(std::lround(63 * of_state / all)) : 0];
  }
  return out;
}

} // namespace slat::reporting
