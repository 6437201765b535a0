#include "slat/commands.hpp"

namespace slat::tool {
void add_doctor(CLI::App&, Command&) {}
} // namespace slat::tool
