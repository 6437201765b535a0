// Plot: the frame of every chart. The drawing is an SVG that stretches; ticks and marks are HTML at places in percent, so text
// has the reader's size on a wide screen, on a phone and on paper.
#pragma once

#include "slat/report/scale.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace slat::reporting {

/// The drawing's coordinates: 0 to this, from the top left.
inline constexpr double plot_size = 1000;

struct Plot {
  std::string id = {};      // of the check, and of the script: letters, digits and '-'
  std::string title = {};   // all of these are plain text
  std::string note = {};    // what is beside the title
  std::string label = {};   // what it shows, for who cannot see it
  std::string kind = {};    // a class: the height is the style's
  std::vector<Tick> x = {}; // from the left
  std::vector<Tick> y = {}; // from the bottom
  std::string drawing = {}; // SVG
  std::string marks = {};   // HTML over it
  std::string below = {};   // HTML under it
  std::string data = {};    // JSON for the script
};

/// <figure>. Pure.
[[nodiscard]] std::string html_of(const Plot& plot);

/// Coordinates of the drawing, short.
[[nodiscard]] std::string coordinates(double x, double y);

/// One line through points given by places (0..1, from the bottom left): a path's data.
struct Place {
  double x, y;
};

[[nodiscard]] std::string line_path(const std::vector<Place>& places);

/// A rectangle between places, as a path's data.
[[nodiscard]] std::string box_path(double left, double right, double bottom, double top);

/// Ticks for seconds from 0 to `end`.
[[nodiscard]] std::vector<Tick> time_ticks(double end);

/// A swatch of a CSS colour and a name.
[[nodiscard]] std::string legend_entry(std::string_view colour, std::string_view name);

} // namespace slat::reporting
