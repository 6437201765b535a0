// SlotPool: an exclusive slot has one owner at a time, and the next one goes on from what the last
// one left. Without SRCU's fences around it, for other users of slots (counters.hpp) have none.
#include "mmu/thread_slot.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

/// Threads that each live twice, with whatever slot they get, and count there. Two owners at a time, or a
/// hand-over without order, are a data race on `owned`, and a lost addition.
template <unsigned Threads, unsigned Exclusive>
struct Lives : Model<Lives<Threads, Exclusive>, Threads> {
  void thread(unsigned) {
    for (unsigned life = 0; life < lives; ++life) {
      const unsigned slot = pool.claim();
      const bool shared = slot == pool.shared;
      mmu::add_in_slot(count[slot], 1u, shared, std::memory_order_relaxed);
      if (!shared) owned[slot].set(owned[slot].get() + 1);
      if (!shared) pool.give_back(slot);
    }
  }

  void after() {
    unsigned sum = 0;
    for (auto& word : count) sum += word.load(std::memory_order_relaxed);
    MODEL_CHECK(sum == lives * Threads);
    for (unsigned slot = 0; slot < Exclusive; ++slot) MODEL_CHECK(pool.claim() == slot);
    MODEL_CHECK(pool.claim() == pool.shared);
  }

  static constexpr unsigned lives = 2;
  mmu::SlotPool<RelacyAtomics, Exclusive> pool;
  RelacyAtomics::atomic<unsigned> count[Exclusive + 1];
  RelacyAtomics::var<unsigned> owned[Exclusive];
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("three_for_one", Lives<3, 1>),
    MODEL_SCENARIO("three_for_two", Lives<3, 2>),
    MODEL_SMALL_SCENARIO("two_for_one", Lives<2, 1>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
