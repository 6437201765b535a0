// The sub-commands of slat bench.
#pragma once

#include "slat/commands.hpp"

namespace slat::tool {

void add_bench_access_tracking(CLI::App& bench, Command& run);
void add_bench_boot(CLI::App& bench, Command& run);
void add_bench_demand_paging(CLI::App& bench, Command& run);
void add_bench_dirty_log(CLI::App& bench, Command& run);
void add_bench_footprint(CLI::App& bench, Command& run);
void add_bench_invalidate(CLI::App& bench, Command& run);
void add_bench_mmu(CLI::App& bench, Command& run);
void add_bench_scale(CLI::App& bench, Command& run);
void add_bench_softcpu(CLI::App& bench, Command& run);
void add_bench_stage2(CLI::App& bench, Command& run);
void add_bench_uffd(CLI::App& bench, Command& run);

} // namespace slat::tool
