// SLAT_ASSERT: an invariant that checked builds (debug, asan, tsan) verify. SLAT_CHECK: the same in
// every build, for what must never go on (a corrupt lock word, say).
#pragma once

namespace slat::mmu::detail {
[[noreturn]] void assertion_failed(const char* what, const char* file, int line);
} // namespace slat::mmu::detail

#define SLAT_CHECK(condition, what)                                                                \
  ((condition) ? void(0) : ::slat::mmu::detail::assertion_failed(what, __FILE__, __LINE__))

#ifdef SLAT_CHECKED
#define SLAT_ASSERT(condition, what) SLAT_CHECK(condition, what)
#else
#define SLAT_ASSERT(condition, what) void(sizeof((condition) ? 1 : 0))
#endif
