#include "slat/commands.hpp"

namespace slat::tool {
void add_bench(CLI::App&, Command&) {}
} // namespace slat::tool
