#include "mmu/rcu.hpp"

#ifdef SLAT_RCU_TSAN
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace slat::mmu::rcu {

namespace {

#ifdef SLAT_RCU_TSAN
char grace_period_tag; // the address stands for "all sections ended before the grace period did"
#endif

/// Never destroyed, for what is taken down after main() still calls it; but its thread ends.
Reclaimer& reclaimer() {
  static auto* const instance = new Reclaimer(synchronize);

  static const struct AtExit {
    ~AtExit() { instance->end_thread(); }
  } at_exit;

  return *instance;
}

} // namespace

#ifdef SLAT_RCU_TSAN
void detail::tsan_section_ends() {
  __tsan_release(&grace_period_tag);
}
#endif

void synchronize() {
  might_sleep();
#ifdef SLAT_EXPLORE
  explore::rcu().synchronize();
#else
  urcu_bp_synchronize_rcu();
#endif
#ifdef SLAT_RCU_TSAN
  __tsan_acquire(&grace_period_tag);
#endif
}

void call(DeferredCall& head, void (*function)(DeferredCall*)) {
  reclaimer().call(head, function);
}

void barrier() {
  might_sleep();
  reclaimer().barrier();
}

} // namespace slat::mmu::rcu
