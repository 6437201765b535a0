// The grace period of SrcuCore: what is unlinked before synchronize() is never seen by a reader
// once synchronize() has returned. I16 and I23 stand on it.
#include "mmu/srcu_core.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

/// One updater replaces an object `Rounds` times and frees each after a grace period; readers use
/// what they find. A section that reads a freed object is a data race with the freeing, or sees it.
template <unsigned Readers, unsigned Sections, unsigned Rounds, std::uint32_t First, bool OneSlot>
struct GracePeriod : Model<GracePeriod<Readers, Sections, Rounds, First, OneSlot>, Readers + 1> {
  void setup() { object[0].set(alive); }

  void thread(unsigned index) {
    if (index < Readers)
      for (unsigned i = 0; i < Sections; ++i) read(OneSlot ? 0 : index);
    else
      for (unsigned i = 0; i < Rounds; ++i) replace(i);
  }

  void after() { MODEL_CHECK(core->readers() == 0); }

  void read(unsigned slot) {
    const unsigned idx = core->read_lock(slot);
    const unsigned found = current.load(std::memory_order_acquire);
    MODEL_CHECK(object[found].get() == alive);
    core->read_unlock(idx, slot);
  }

  void replace(unsigned round) {
    object[round + 1].set(alive);
    current.store(round + 1, std::memory_order_release);
    core->synchronize();
    object[round].set(freed);
  }

  static constexpr int alive = 1;
  static constexpr int freed = 2;
  Placed<mmu::SrcuCore<RelacyAtomics, 2>> core{First};
  RelacyAtomics::atomic<unsigned> current{0};
  RelacyAtomics::var<int> object[Rounds + 1];
};

constexpr std::uint32_t before_wrap = ~std::uint32_t(0);

constexpr Scenario scenarios[] = {
    MODEL_SMALL_SCENARIO("one_reader", GracePeriod<1, 1, 2, 0, false>),
    MODEL_SCENARIO("two_readers_once", GracePeriod<2, 1, 1, 0, false>),
    MODEL_SCENARIO("two_readers", GracePeriod<2, 2, 2, before_wrap, false>),
    MODEL_SCENARIO("shared_slot", GracePeriod<2, 2, 2, before_wrap - 1, true>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
