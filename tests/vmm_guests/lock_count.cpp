#include "lock_count.hpp"

#ifdef SLAT_COUNT_LOCKS
#include <dlfcn.h>
#include <pthread.h>

namespace {

thread_local std::uint64_t taken = 0;

template <class Function> Function* original(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

} // namespace

// These stand before the C library's, whose own calls do not come by here.
extern "C" {

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static auto* const next = original<int(pthread_mutex_t*)>("pthread_mutex_lock");
  ++taken;
  return next(mutex);
}

int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
  static auto* const next = original<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
  ++taken;
  return next(lock);
}

int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
  static auto* const next = original<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
  ++taken;
  return next(lock);
}

} // extern "C"
#endif

namespace slat::test {

std::uint64_t locks_taken() {
#ifdef SLAT_COUNT_LOCKS
  return taken;
#else
  return 0;
#endif
}

bool lock_count_works() {
#ifdef SLAT_COUNT_LOCKS
  const std::uint64_t before = taken;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  return taken == before + 1;
#else
  return false;
#endif
}

} // namespace slat::test
