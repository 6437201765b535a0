// slat: boots guests, stresses their memory, and tells what this host can do.
#include "slat/commands.hpp"
#include "slat/exit_codes.hpp"
#include "slat/run.hpp"

#include <cstdio>
#include <fmt/format.h>

int main(int argc, char** argv) {
  using namespace slat::tool;
  block_signals();
  CLI::App program("slat: a small VMM on a hypervisor-style guest memory manager", "slat");
  program.set_version_flag("--version", "slat " SLAT_VERSION);
  program.require_subcommand(1);
  program.get_formatter()->column_width(26);
  program.footer(exit_code_help);
  Command run;
  add_boot(program, run);
  add_stress(program, run);
  add_doctor(program, run);
  add_bench(program, run);
  try {
    program.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return program.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return program.exit(version);
  } catch (const CLI::ParseError& error) { // CLI11's only way to say no
    fmt::print(stderr, "slat: {} (see `slat --help`)\n", error.what());
    return exit_usage;
  }
  return run();
}
