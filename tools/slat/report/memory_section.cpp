#include "slat/report/memory_image.hpp"
#include "slat/report/plot.hpp"
#include "slat/report/sections.hpp"
#include "slat/report/text.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

namespace slat::reporting {

namespace {

using Json = nlohmann::ordered_json;

/// Labelled by guest physical addresses, at round ones.
std::vector<Tick> address_ticks(const MemorySteps& memory) {
  double step = 65536;
  while (memory.bytes / step > 8) step *= 2;
  std::vector<Tick> ticks;
  double offset = 0;
  for (const MemorySteps::Range& range : memory.ranges) {
    for (double address = std::ceil(range.start / step) * step; address <= range.start + range.size;
         address += step) {
      const double at = (offset + address - range.start) / memory.bytes;
      if (ticks.empty() || at - ticks.back().at > 0.06) ticks.push_back({at, short_bytes(address)});
    }
    offset += range.size;
  }
  return ticks;
}

/// Where the addresses of the RAM jump: a line, and what is left out.
void draw_holes(const MemorySteps& memory, Plot& plot) {
  double offset = 0;
  for (std::size_t i = 0; i + 1 < memory.ranges.size(); ++i) {
    offset += memory.ranges[i].size;
    const double at = offset / memory.bytes;
    plot.drawing +=
        fmt::format("<path class=\"hole\" d=\"M{}H{}\"/>\n", coordinates(0, at), plot_size);
    plot.marks +=
        fmt::format("<span class=\"hole\" style=\"bottom:{:.2f}%\">no RAM from {} to {}</span>",
                    100 * at, short_bytes(memory.ranges[i].start + memory.ranges[i].size),
                    short_bytes(memory.ranges[i + 1].start));
  }
}

/// The ends of VMAs inside the RAM, a line for as long as each lasts; and those without the right to write, shaded.
std::string vmas(const MemorySteps& memory) {
  const double end = memory.steps.back().time_s;
  std::string edges;
  std::string shaded;
  std::map<double, double> since; // address of an edge, and the time that it is there from
  for (std::size_t i = 0; i < memory.steps.size(); ++i) {
    const double now = memory.steps[i].time_s;
    const bool last = i + 1 == memory.steps.size();
    std::map<double, double> still;
    for (const MemorySteps::Vma& vma : memory.steps[i].vmas) {
      if (last) break;
      if (vma.start > memory.ranges.front().start) {
        const auto before = since.find(vma.start);
        still[vma.start] = before == since.end() ? now : before->second;
      }
      if (vma.access.find('w') == vma.access.npos)
        shaded += box_path(now / end, memory.steps[i + 1].time_s / end,
                           memory.offset_of(vma.start) / memory.bytes,
                           memory.offset_of(vma.end) / memory.bytes);
    }
    for (const auto& [address, from] : since)
      if (!still.contains(address))
        edges += fmt::format("M{}H{:.1f}",
                             coordinates(from / end, memory.offset_of(address) / memory.bytes),
                             now / end * plot_size);
    since = std::move(still);
  }
  return fmt::format("<path class=\"edge\" d=\"{}\"/>\n<path class=\"read-only\" d=\"{}\"/>\n",
                     edges, shaded);
}

/// Pages of a state at a step, all slices.
double pages_of(const MemorySteps::Step& step, std::size_t state) {
  double sum = 0;
  for (const double pages : step.pages[state]) sum += pages;
  return sum;
}

/// For the script: what the pointer is at. Shares are digits of base 64, slices are few.
std::string map_data(const MemorySteps& memory) {
  constexpr std::size_t most_rows = 128;
  const std::size_t rows = std::min(most_rows, memory.slices);
  Json data{{"rows", rows}, {"bytes", memory.bytes}, {"ranges", Json::array()}};
  for (const MemorySteps::Range& range : memory.ranges)
    data["ranges"].push_back({range.start, range.size});
  data["states"] = Json::array();
  for (const std::string& state : memory.states) data["states"].push_back(state_label(state));
  data["steps"] = Json::array();
  for (const MemorySteps::Step& step : memory.steps) {
    Json entry{{"t", step.time_s}, {"vmas", step.vma_count}, {"sums", Json::array()}};
    for (std::size_t state = 0; state < memory.states.size(); ++state)
      entry["sums"].push_back(pages_of(step, state));
    Json shares = Json::object();
    for (std::size_t state = 0; state < memory.states.size(); ++state)
      if (!step.pages[state].empty())
        shares[std::to_string(state)] = share_digits(step, state, memory.slices, rows);
    entry["shares"] = std::move(shares);
    data["steps"].push_back(std::move(entry));
  }
  return data.dump();
}

/// The legend, with the pages of each state at the last step; the script has it for the others too.
std::string legend(const MemorySteps& memory, const std::string& id) {
  std::string out = "<div class=\"legend states\">";
  for (std::size_t state = 0; state < memory.states.size(); ++state) {
    bool ever = false;
    for (const MemorySteps::Step& step : memory.steps) ever = ever || pages_of(step, state) > 0;
    if (!ever) continue;
    out +=
        fmt::format("<span class=\"key\"><i class=\"state\" style=\"background:{}\"></i>{} <output "
                    "data-state=\"{}\">{}</output></span>",
                    state_css(memory.states[state]), escaped(state_label(memory.states[state])),
                    state, short_bytes(4096 * pages_of(memory.steps.back(), state)));
  }
  out += fmt::format(
      "</div>\n<label class=\"slider\">at <output class=\"at\">{:.2f} s</output> <input "
      "type=\"range\" min=\"0\" max=\"{}\" value=\"{}\" aria-label=\"Time\" "
      "data-for=\"{}\"></label>\n",
      memory.steps.back().time_s, memory.steps.size() - 1, memory.steps.size() - 1, id);
  return out;
}

/// All pages by state, one above the other, over time.
std::string stack(const MemorySteps& memory, const std::string& id) {
  const double end = memory.steps.back().time_s;
  const double pages = memory.bytes / 4096;
  Plot plot{.id = id,
            .title = "Guest memory by state",
            .note = "all of it",
            .label = "Guest memory by state over time, stacked",
            .kind = "stack"};
  plot.x = time_ticks(end);
  plot.y = {{0, "0"}, {0.5, short_bytes(memory.bytes / 2)}, {1, short_bytes(memory.bytes)}};
  std::vector<double> base(memory.steps.size());
  for (std::size_t state = memory.states.size(); state-- > 1;) { // all but what is absent
    std::vector<Place> upper;
    std::string lower;
    bool any = false;
    for (std::size_t i = 0; i < memory.steps.size(); ++i) {
      const double from = base[i];
      base[i] += pages_of(memory.steps[i], state) / pages;
      any = any || base[i] > from;
      const double x = memory.steps[i].time_s / end;
      upper.push_back({x, std::min(base[i], 1.0)});
      lower.insert(0, "L" + coordinates(x, std::min(from, 1.0)));
    }
    if (any)
      plot.drawing += fmt::format("<path class=\"layer\" style=\"fill:{}\" d=\"{}{}z\"/>\n",
                                  state_css(memory.states[state]), line_path(upper), lower);
  }
  return html_of(plot);
}

} // namespace

std::string memory_section(const Recording& recording, const std::string& id) {
  const MemorySteps& memory = recording.memory;
  if (memory.steps.size() < 2 || memory.slices == 0) return {};
  Plot plot{.id = id + "-memory-map",
            .title = "Memory map over time",
            .note = fmt::format("guest address upwards, {} slices of {}; colours mix by share",
                                memory.slices, short_bytes(memory.bytes / double(memory.slices))),
            .label = "Heat map of the state of guest memory, by guest address and time",
            .kind = "memory-map"};
  plot.x = time_ticks(memory.steps.back().time_s);
  plot.y = address_ticks(memory);
  plot.drawing =
      fmt::format("<image class=\"cells\" width=\"{0}\" height=\"{0}\" "
                  "preserveAspectRatio=\"none\" href=\"data:image/png;base64,{1}\"/>\n{2}",
                  plot_size, base64(png(memory_image(memory))), vmas(memory));
  draw_holes(memory, plot);
  plot.below = legend(memory, plot.id);
  plot.data = map_data(memory);
  const std::string note =
      memory.from_table
          ? "Mapped, used and written are what slat's own stage-2 table says."
          : "Under KVM mapped and written are what slat knows by its page words: installed in the "
            "guest view, installed for writing.";
  return fmt::format(
      "<section id=\"{}-memory\" data-check><h3>Guest memory</h3>\n{}{}<p class=\"hint\">{} Each "
      "page is "
      "as it was at some moment of its sample; thin lines are where VMAs end.</p></section>\n",
      id, html_of(plot), stack(memory, id + "-memory-stack"), note);
}

} // namespace slat::reporting
