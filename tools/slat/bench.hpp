// The sub-commands of slat bench.
#pragma once

#include "slat/commands.hpp"

#include <vector>

namespace slat::tool {

void add_bench_mmu(CLI::App& bench, Command& run);
void add_bench_scale(CLI::App& bench, Command& run);
void add_bench_uffd(CLI::App& bench, Command& run);

/// The middle of the values (of the middle two, the mean); 0 if there are none.
[[nodiscard]] double median(std::vector<double> values);

} // namespace slat::tool
