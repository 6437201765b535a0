#include "mmu/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace slat::mmu::detail {

void assertion_failed(const char* what, const char* file, int line) {
  std::fprintf(stderr, "slat: invariant broken: %s (%s:%d)\n", what, file, line);
  std::abort();
}

} // namespace slat::mmu::detail
