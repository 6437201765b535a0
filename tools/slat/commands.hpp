// The commands of slat. Each adds itself to the program, and `run` is set to what to do if it was asked for.
#pragma once

#include <functional>

namespace CLI {
class App;
} // namespace CLI

namespace slat::tool {

/// Returns the exit code.
using Command = std::function<int()>;

void add_boot(CLI::App& program, Command& run);
void add_stress(CLI::App& program, Command& run);
void add_ctl(CLI::App& program, Command& run);
void add_inval(CLI::App& program, Command& run);
void add_doctor(CLI::App& program, Command& run);
void add_dump(CLI::App& program, Command& run);
void add_bench(CLI::App& program, Command& run);
void add_completion(CLI::App& program, Command& run);
void add_report(CLI::App& program, Command& run);

} // namespace slat::tool
