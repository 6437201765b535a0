// What memstress prints. vCPU 0 only.
#pragma once

#include <cstdint>

namespace slat::guest {

/// One line on what is going to be done, unless quiet.
void print_start();

/// The first mismatch, if there was one, and one line that begins with "memstress: PASS" or
/// "memstress: FAIL". Gives the exit code. `run_ticks`: TSC ticks that the vCPUs were running,
/// initialisation and verification apart.
std::uint32_t print_verdict(std::uint64_t run_ticks, bool counters_good);

} // namespace slat::guest
