#include "mmu/assert.hpp"

#include <cstdio>
#include <cstdlib>

#ifdef SLAT_EXPLORE
#include <slat_explore.hpp>
#endif

namespace slat::mmu::detail {

void assertion_failed(const char* what, const char* file, int line) {
#ifdef SLAT_EXPLORE
  explore::failed(what, file, line);
#endif
  std::fprintf(stderr, "slat: invariant broken: %s (%s:%d)\n", what, file, line);
  std::abort();
}

} // namespace slat::mmu::detail
