#include "vmm/memory_picture.hpp"

#include "vmm/layout.hpp"
#include "vmm/markup.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iterator>

namespace slat::vmm {

namespace {

constexpr std::uint64_t max_columns = 256;
constexpr std::uint64_t max_rows = 1024;
constexpr std::uint64_t left = 104; // pixels; right of the addresses
constexpr std::uint64_t margin = 16;
constexpr std::uint64_t min_width = 480; // of the legend
constexpr std::uint64_t gap_height = 28;

struct StateStyle {
  std::string_view id;
  std::string_view label;
  std::string_view colour;
};

/// By MemoryState.
constexpr std::array<StateStyle, memory_states> styles{{
    {"not_resident", "not resident", "#e8e8e8"},
    {"reclaimed", "reclaimed", "#f0e442"},
    {"poisoned", "poisoned", "#000000"},
    {"unmapped", "resident, not mapped", "#999999"},
    {"mapped", "mapped, not young", "#56b4e9"},
    {"young", "mapped, young, clean", "#009e73"},
    {"dirty", "mapped, dirty", "#d55e00"},
}};

/// What the legend begins with is what asks for attention last.
constexpr std::array<MemoryState, memory_states> legend_order{
    MemoryState::not_resident, MemoryState::unmapped,  MemoryState::mapped,  MemoryState::young,
    MemoryState::dirty,        MemoryState::reclaimed, MemoryState::poisoned};

/// A viewer refuses the whole picture for a byte that XML does not allow, or that is not UTF-8: ASCII alone.
std::string xml_text(std::string_view text) {
  std::string out(text.substr(0, 100));
  for (char& c : out)
    if (c < ' ' || c > '~') c = '?';
  return without_markup(out);
}

/// A part of the memory on the grid; all in cells.
struct PlacedPart {
  const MemoryMap::Part* part;
  Gpa base; // of the first row, at or below the part's start
  std::uint64_t top;
  std::uint64_t rows;
};

struct Grid {
  std::uint64_t columns = max_columns;
  std::uint64_t cell_bytes = guest_page_size;
  std::uint64_t cell_size = 3; // pixels
  std::uint64_t height = 0;    // cells, gaps included
  std::vector<PlacedPart> parts;

  [[nodiscard]] std::uint64_t row_bytes() const { return columns * cell_bytes; }

  [[nodiscard]] std::uint64_t gap_rows() const { return (gap_height + cell_size - 1) / cell_size; }

  void place(const MemoryMap& map) {
    parts.clear();
    height = 0;
    for (const MemoryMap::Part& part : map.parts) {
      if (part.pages.empty()) continue;
      if (!parts.empty() && parts.back().part->end() != part.start) height += gap_rows();
      const Gpa base = part.start / row_bytes() * row_bytes();
      const std::uint64_t rows = (part.end() - base + row_bytes() - 1) / row_bytes();
      parts.push_back({&part, base, height, rows});
      height += rows;
    }
  }
};

Grid plan(const MemoryMap& map) {
  std::uint64_t pages = 0;
  for (const MemoryMap::Part& part : map.parts) pages += part.pages.size();
  Grid grid;
  while (grid.columns > 32 && pages < grid.columns * grid.columns / 2) grid.columns /= 2;
  grid.cell_size = std::clamp<std::uint64_t>(768 / grid.columns, 3, 16);
  while (pages * guest_page_size > max_rows * grid.row_bytes()) grid.cell_bytes *= 2;
  grid.place(map);
  return grid;
}

using StateCounts = std::array<std::uint64_t, memory_states>;

/// What most pages of the cell at `address` are; memory_states if it has none.
std::size_t state_of_cell(const MemoryMap::Part& part, Gpa address, std::uint64_t cell_bytes) {
  const Gpa from = std::max(address, part.start);
  const Gpa to = std::min(address + cell_bytes, part.end());
  if (from >= to) return memory_states;
  StateCounts counts{};
  for (Gpa at = from; at < to; at += guest_page_size)
    ++counts[std::size_t(memory_state(part.pages[(at - part.start) / guest_page_size]))];
  std::size_t most = 0;
  for (std::size_t state = 1; state < memory_states; ++state)
    if (counts[state] >= counts[most]) most = state;
  return most;
}

/// One line, as thick as a cell, for each run of cells of one colour.
std::string cells(const Grid& grid) {
  std::array<std::string, memory_states> paths;
  for (const PlacedPart& placed : grid.parts) {
    for (std::uint64_t row = 0; row < placed.rows; ++row) {
      const Gpa start = placed.base + row * grid.row_bytes();
      std::size_t state = memory_states;
      std::uint64_t from = 0;
      for (std::uint64_t column = 0; column <= grid.columns; ++column) {
        const std::size_t next =
            column == grid.columns
                ? memory_states
                : state_of_cell(*placed.part, start + column * grid.cell_bytes, grid.cell_bytes);
        if (next == state) continue;
        if (state != memory_states)
          fmt::format_to(std::back_inserter(paths[state]), "M{} {}h{}", from, placed.top + row,
                         column - from);
        state = next;
        from = column;
      }
    }
  }
  std::string out;
  for (std::size_t state = 0; state < memory_states; ++state)
    if (!paths[state].empty())
      out += fmt::format("<path id=\"{}\" transform=\"translate(0,.5)\" stroke=\"{}\" d=\"{}\"/>\n",
                         styles[state].id, styles[state].colour, paths[state]);
  return out;
}

/// Cells [from, to) of a part, in at most three rectangles: the rest of a row, whole rows, the
/// beginning of a row.
void outline(std::string& path, const Grid& grid, std::uint64_t top, std::uint64_t from,
             std::uint64_t to) {
  while (from < to) {
    const std::uint64_t column = from % grid.columns;
    const bool whole_rows = column == 0 && to - from >= grid.columns;
    const std::uint64_t width =
        whole_rows ? grid.columns : std::min(to - from, grid.columns - column);
    const std::uint64_t height = whole_rows ? (to - from) / grid.columns : 1;
    fmt::format_to(std::back_inserter(path), "M{} {}h{}v{}h-{}z", column, top + from / grid.columns,
                   width, height, width);
    from += width * height;
  }
}

std::string huge_leaves(const Grid& grid, const MemoryMap& map) {
  constexpr std::uint64_t smallest = 16; // cells: what has less is outlined with its neighbours
  std::string path;
  auto leaf = map.huge.begin();
  for (const PlacedPart& placed : grid.parts) {
    std::uint64_t from = 0;
    std::uint64_t to = 0; // of the outline so far
    for (; leaf != map.huge.end() && leaf->start < placed.part->end(); ++leaf) {
      const std::uint64_t first = (leaf->start - placed.base) / grid.cell_bytes;
      const std::uint64_t last =
          (leaf->start + leaf->size - placed.base + grid.cell_bytes - 1) / grid.cell_bytes;
      if (to > from && first <= to && last - first < smallest) {
        to = last;
        continue;
      }
      outline(path, grid, placed.top, from, to);
      from = first;
      to = last;
    }
    outline(path, grid, placed.top, from, to);
  }
  if (path.empty()) return {};
  // A pixel wide, and half a pixel off the edge: centred on it, it would cover no pixel's middle.
  const double pixel = 1.0 / double(grid.cell_size);
  return fmt::format("<path id=\"huge\" transform=\"translate({0:.4f},{0:.4f})\" "
                     "stroke=\"#000000\" stroke-width=\"{1:.4f}\" d=\"{2}\"/>\n",
                     pixel / 2, pixel, path);
}

/// Addresses beside the rows, and what the gaps are; `top` in pixels.
std::string labels(const Grid& grid, std::uint64_t top) {
  constexpr std::uint64_t label_height = 12;
  std::string out;
  std::uint64_t free_from = 0; // pixels
  const MemoryMap::Part* before = nullptr;
  for (const PlacedPart& placed : grid.parts) {
    const MemoryMap::Part& part = *placed.part;
    if (before != nullptr && before->end() < part.start)
      out += fmt::format("<text class=\"hole\" x=\"{}\" y=\"{}\">hole: 0x{:x}-0x{:x}, {}</text>\n",
                         left, top + placed.top * grid.cell_size - gap_height / 2 + 4,
                         before->end(), part.start, format_size(part.start - before->end()));
    before = &part;
    for (std::uint64_t row = 0; row < placed.rows; ++row) {
      const Gpa address = placed.base + row * grid.row_bytes();
      const std::uint64_t y = top + (placed.top + row) * grid.cell_size;
      if ((row != 0 && address / grid.row_bytes() % 16 != 0) || y < free_from) continue;
      free_from = y + label_height;
      out +=
          fmt::format("<text class=\"address\" x=\"{}\" y=\"{}\" text-anchor=\"end\">0x{:x}</text>"
                      "<path d=\"M{} {}h5\" stroke=\"#000000\"/>\n",
                      left - 8, y + 4, address, left - 6, y);
    }
  }
  return out;
}

std::string counted(std::string_view id, std::string_view label, std::uint64_t pages,
                    std::uint64_t y) {
  return fmt::format("<text x=\"38\" y=\"{}\">{}</text>"
                     "<text id=\"pages-{}\" x=\"310\" y=\"{}\" text-anchor=\"end\">{}</text>"
                     "<text x=\"410\" y=\"{}\" text-anchor=\"end\">{:.2f}</text>\n",
                     y, label, id, y, pages, y, double(pages) * 4 / 1024);
}

/// From `y` on, which it moves below itself.
std::string legend(const MemoryMap& map, std::uint64_t& y) {
  constexpr std::uint64_t line = 17;
  StateCounts counts{};
  std::uint64_t total = 0;
  std::uint64_t huge = 0;
  for (const MemoryMap::Part& part : map.parts) {
    total += part.pages.size();
    for (const std::uint8_t marks : part.pages) {
      ++counts[std::size_t(memory_state(marks))];
      if ((marks & PageMark::huge) != 0) ++huge;
    }
  }
  std::string out = fmt::format("<text x=\"310\" y=\"{}\" text-anchor=\"end\">pages</text>"
                                "<text x=\"410\" y=\"{}\" text-anchor=\"end\">MiB</text>\n",
                                y, y);
  for (const MemoryState state : legend_order) {
    y += line;
    const StateStyle& style = styles[std::size_t(state)];
    out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"14\" height=\"12\" fill=\"{}\"/>", margin,
                       y - 10, style.colour);
    out += counted(style.id, style.label, counts[std::size_t(state)], y);
  }
  y += line;
  out += counted("all", "all", total, y);
  if (map.from_table) {
    y += line;
    out += fmt::format("<rect x=\"{}.5\" y=\"{}.5\" width=\"13\" height=\"11\" fill=\"none\" "
                       "stroke=\"#000000\"/>",
                       margin, y - 10);
    out += counted("huge", "of them in huge leaves (outlined)", huge, y);
  }
  return out;
}

} // namespace

std::string_view colour_of(MemoryState state) {
  return styles[std::size_t(state)].colour;
}

std::string memory_picture_svg(const MemoryMap& map, const PictureOptions& options) {
  const Grid grid = plan(map);
  std::uint64_t bytes = 0;
  for (const MemoryMap::Part& part : map.parts) bytes += part.pages.size() * guest_page_size;

  std::string head;
  std::uint64_t y = 26;
  const auto write_line = [&](std::string_view text, std::string_view style) {
    head += fmt::format("<text x=\"{}\" y=\"{}\"{}>{}</text>\n", margin, y, style, text);
    y += 17;
  };
  const std::string title =
      fmt::format("{}: {} of guest memory", xml_text(options.title), format_size(bytes));
  write_line(title, " font-size=\"16\" font-weight=\"bold\"");
  write_line("sampled " + xml_text(options.time), "");
  write_line(fmt::format("one cell = {}, one row = {}{}", format_size(grid.cell_bytes),
                         format_size(grid.row_bytes()),
                         grid.cell_bytes > guest_page_size
                             ? "; a cell has the colour of most of its pages"
                             : ""),
             "");
  if (!map.from_table) {
    write_line("from slat's page words alone: mapped, young and dirty are as slat made them,", "");
    write_line("not as the guest's accesses have marked them since", "");
  }
  y += 8;
  head += legend(map, y);
  const std::uint64_t top = y + 24;

  std::string svg =
      fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
                  "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
                  "<title>{2}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
                  std::max(min_width, left + grid.columns * grid.cell_size + margin),
                  top + grid.height * grid.cell_size + margin, title);
  svg += head;
  svg += labels(grid, top);
  svg += fmt::format("<g transform=\"translate({},{}) scale({})\" fill=\"none\" "
                     "stroke-width=\"1\" shape-rendering=\"crispEdges\">\n",
                     left, top, grid.cell_size);
  svg += cells(grid);
  svg += huge_leaves(grid, map);
  return svg + "</g>\n</svg>\n";
}

} // namespace slat::vmm
