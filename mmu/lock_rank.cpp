#include "mmu/lock_rank.hpp"

#ifdef SLAT_CHECKED
#include <array>

namespace slat::mmu {

namespace {

struct Held {
  const void* lock;
  LockRank rank;
};

constexpr unsigned depth_limit = 16; // two would do for each rank

struct Stack {
  std::array<Held, depth_limit> held;
  unsigned depth = 0;
};

Stack& locks_held() {
  static thread_local Stack stack;
  return stack;
}

int& no_sleep_sections() {
  static thread_local int sections = 0;
  return sections;
}

} // namespace

void lock_rank::acquiring(const void* lock, LockRank rank) {
  const Stack& stack = locks_held();
  for (unsigned i = 0; i < stack.depth; ++i) {
    SLAT_CHECK(stack.held[i].lock != lock, "a lock is taken twice on one thread");
    SLAT_CHECK(stack.held[i].rank < rank, "locks are taken against their order (lock ranks)");
  }
}

void lock_rank::acquired(const void* lock, LockRank rank) {
  Stack& stack = locks_held();
  SLAT_CHECK(stack.depth < depth_limit, "a thread holds too many locks");
  stack.held[stack.depth++] = {lock, rank};
}

void lock_rank::released(const void* lock) {
  Stack& stack = locks_held();
  for (unsigned i = stack.depth; i-- > 0;) {
    if (stack.held[i].lock != lock) continue;
    for (--stack.depth; i < stack.depth; ++i) stack.held[i] = stack.held[i + 1];
    return;
  }
  SLAT_CHECK(false, "a lock is dropped by a thread that does not hold it");
}

void might_sleep() {
  SLAT_CHECK(no_sleep_sections() == 0, "something that may sleep, where sleeping is forbidden");
}

NoSleep::NoSleep(bool forbidden) : forbidden_(forbidden) {
  if (forbidden_) ++no_sleep_sections();
}

NoSleep::~NoSleep() {
  if (forbidden_) --no_sleep_sections();
}

} // namespace slat::mmu
#endif
