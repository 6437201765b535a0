#include "mmu/atomics.hpp"

#include "mmu/assert.hpp"

#include <climits>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slat::mmu {

namespace {

#if defined(__SANITIZE_THREAD__)
#define SLAT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLAT_TSAN 1
#endif
#endif

bool register_membarrier() {
#if defined(SLAT_TSAN) || defined(SLAT_EXPLORE)
  return false; // TSan models neither, and its interceptors make the rare side slow
#else
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
}

} // namespace

const bool asymmetric_fences = register_membarrier();

int& page_locks_held() {
  static thread_local int held = 0;
  return held;
}

namespace detail {

void membarrier_or_abort() {
  SLAT_CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0,
             "membarrier refused after registration");
}

void futex_wait(const void* word, std::uint32_t value) {
#ifdef SLAT_EXPLORE
  return explore::wait_word(word, value);
#endif
  // EAGAIN (the word has changed) and EINTR are the caller's loop's business.
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void futex_wake_all(const void* word) {
#ifdef SLAT_EXPLORE
  return explore::wake_word(word);
#endif
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

} // namespace detail

} // namespace slat::mmu
