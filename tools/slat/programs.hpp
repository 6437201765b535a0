// slat is two programs. `slat` runs guests and holds nothing that a running guest's VMM has no use for: what it maps is
// memory of every machine. `slat-full` has all commands, and `slat` becomes it for what is not its own.
#pragma once

#include <string>

namespace slat::tool {

/// The program that runs guests: `slat` beside this one, where `cmake --install` puts it, or else this very program. Empty
/// if /proc is not mounted.
[[nodiscard]] std::string vmm_program();

/// This process becomes `slat-full`. Returns only if it cannot, after one line on standard error that says why: an exit
/// code.
[[nodiscard]] int become_full_program(char** argv);

} // namespace slat::tool
