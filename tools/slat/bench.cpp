// slat bench: the benchmarks, one sub-command each.
#include "slat/bench.hpp"

#include <CLI/CLI.hpp>

namespace slat::tool {

void add_bench(CLI::App& program, Command& run) {
  CLI::App* const bench =
      program.add_subcommand("bench", "Measure; every comparison is a ratio within one run");
  bench->require_subcommand(1);
  add_bench_mmu(*bench, run);
  add_bench_stage2(*bench, run);
  add_bench_softcpu(*bench, run);
  add_bench_uffd(*bench, run);
  add_bench_demand_paging(*bench, run);
  add_bench_dirty_log(*bench, run);
  add_bench_access_tracking(*bench, run);
  add_bench_invalidate(*bench, run);
  add_bench_boot(*bench, run);
  add_bench_footprint(*bench, run);
  add_bench_scale(*bench, run);
}

} // namespace slat::tool
