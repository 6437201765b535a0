#include "slat/report/plot.hpp"

#include "slat/report/text.hpp"

#include <fmt/format.h>

namespace slat::reporting {

std::string html_of(const Plot& plot) {
  std::string out = fmt::format("<figure class=\"chart {}\" id=\"{}\" data-check>\n<figcaption>{}",
                                plot.kind, plot.id, escaped(plot.title));
  if (!plot.note.empty()) out += fmt::format(" <small>{}</small>", escaped(plot.note));
  out += fmt::format("</figcaption>\n<div class=\"plot\"><svg viewBox=\"0 0 {0} {0}\" "
                     "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{1}\">\n",
                     plot_size, escaped(plot.label.empty() ? plot.title : plot.label));
  std::string grid;
  for (const Tick& tick : plot.y)
    grid += fmt::format("M0 {:.1f}H{}", plot_size * (1 - tick.at), plot_size);
  out += fmt::format("<path class=\"grid\" d=\"{}\"/>\n{}</svg>\n", grid, plot.drawing);
  for (const Tick& tick : plot.y)
    out += fmt::format("<span class=\"yt\" style=\"bottom:{:.2f}%\">{}</span>", 100 * tick.at,
                       escaped(tick.label));
  for (const Tick& tick : plot.x)
    out += fmt::format("<span class=\"xt\" style=\"left:{:.2f}%\">{}</span>", 100 * tick.at,
                       escaped(tick.label));
  out += plot.marks + "</div>\n" + plot.below;
  if (!plot.data.empty())
    out += fmt::format("<script type=\"application/json\">{}</script>\n", script_safe(plot.data));
  return out + "</figure>\n";
}

std::string coordinates(double x, double y) {
  return fmt::format("{:.1f} {:.1f}", x * plot_size, (1 - y) * plot_size);
}

std::string line_path(const std::vector<Place>& places) {
  std::string path;
  for (const Place& place : places)
    path += (path.empty() ? "M" : "L") + coordinates(place.x, place.y);
  return path;
}

std::string box_path(double left, double right, double bottom, double top) {
  return fmt::format("M{}H{:.1f}V{:.1f}H{:.1f}z", coordinates(left, top), right * plot_size,
                     (1 - bottom) * plot_size, left * plot_size);
}

std::vector<Tick> time_ticks(double end) {
  return LinearScale(0, end).ticks(6, [](double s) {
    return s >= 120 && s / 60 == double(int(s / 60)) ? fmt::format("{} min", s / 60)
                                                     : short_number(s) + " s";
  });
}

std::string legend_entry(std::string_view colour, std::string_view name) {
  return fmt::format("<span class=\"key\"><i style=\"background:{}\"></i>{}</span>", colour,
                     escaped(name));
}

} // namespace slat::reporting
