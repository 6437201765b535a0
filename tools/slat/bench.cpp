// slat bench: the benchmarks, one sub-command each.
#include "slat/bench.hpp"
#include "slat/commands.hpp"

#include <CLI/CLI.hpp>

namespace slat::tool {

void add_bench(CLI::App& program, Command& run) {
  CLI::App* const bench =
      program.add_subcommand("bench", "Measure; every comparison is a ratio within one run");
  bench->require_subcommand(1);
  add_bench_mmu(*bench, run);
  add_bench_uffd(*bench, run);
  add_bench_scale(*bench, run);
}

} // namespace slat::tool
