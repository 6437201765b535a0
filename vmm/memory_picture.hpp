// A picture of guest memory: a MemoryMap as SVG.
#pragma once

#include "vmm/memory_map.hpp"

#include <string>
#include <string_view>

namespace slat::vmm {

/// Free text, made fit for XML: what is not printable ASCII becomes '?'; cut to 100 characters.
struct PictureOptions {
  std::string title; // "slat run vmlinux", say; the size of the memory is added
  std::string time;  // of the sample, as it is to be read
};

/// The fill colour of a state, "#rrggbb": from the palette of Okabe and Ito, which can be told apart
/// by the colour-blind, and greys.
[[nodiscard]] std::string_view colour_of(MemoryState state);

/// A self-contained SVG without scripts or fonts of its own: a title, a legend that counts every page
/// once, and the pages, left to right and top to bottom. A cell is one page or 2^n of them (then of the
/// colour that most of them have; of two that are as many the later one in MemoryState), a row 2^n cells, 256
/// at most; there are some 1,024 rows at most. Huge leaves are outlined, those that are less than 16 cells
/// together with their neighbours. A hole between parts of the memory is a labelled gap. Pure. May throw
/// std::bad_alloc.
[[nodiscard]] std::string memory_picture_svg(const MemoryMap& map, const PictureOptions& options);

} // namespace slat::vmm
