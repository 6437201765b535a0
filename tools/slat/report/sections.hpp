// The parts of the page. Each is HTML, with every string from outside escaped; ids begin with `id`, which is unlike those of
// other documents. Pure.
#pragma once

#include "slat/report/bench_result.hpp"
#include "slat/report/recording.hpp"

#include <string>
#include <vector>

namespace slat::reporting {

/// A table with a column for each recording; of one alone, its tiles and a list.
[[nodiscard]] std::string summary_section(const std::vector<Recording>& recordings);
/// The verdict and the figures that one looks at first.
[[nodiscard]] std::string tiles(const Recording& recording);
/// Guest memory by state: over address and time, and in all.
[[nodiscard]] std::string memory_section(const Recording& recording, const std::string& id);
/// Rates over time.
[[nodiscard]] std::string series_section(const Recording& recording, const std::string& id);
/// Histograms, and latency over time.
[[nodiscard]] std::string latency_section(const Recording& recording, const std::string& id);
/// Options and all statistics, folded.
[[nodiscard]] std::string details_section(const Recording& recording);

/// The matrix of designs, or a plot of ratios; and the figures, folded. `results` are of one benchmark.
[[nodiscard]] std::string bench_section(const std::vector<BenchResult>& results,
                                        const std::string& id);
/// Its ratios compare what the label "design" names.
[[nodiscard]] bool compares_designs(const BenchResult& result);
/// A row for each cell, a column for each design.
[[nodiscard]] std::string design_matrix(const BenchResult& result, const std::string& id);
/// A row for each ratio, a dot for each of the results.
[[nodiscard]] std::string ratio_plot(const std::vector<BenchResult>& results,
                                     const std::string& id);

} // namespace slat::reporting
