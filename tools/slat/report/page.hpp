// The whole page: one HTML file that needs nothing else.
#pragma once

#include "slat/report/document.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace slat::reporting {

struct PageOptions {
  std::string title = {};   // free text; empty: one that fits
  std::string version = {}; // of slat
};

/// Recordings first, in their order; then the benchmarks, those of one name together. Pure. May throw std::bad_alloc.
[[nodiscard]] std::string page(const std::vector<Document>& documents, const PageOptions& options);

// report.css and report.js, as the build embeds them.
extern const std::string_view style_sheet;
extern const std::string_view script;

} // namespace slat::reporting
