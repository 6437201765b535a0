// The grace period of SrcuCore: what is unlinked before synchronize() is never seen by a reader
// once synchronize() has returned. I16 and I23 stand on it. The last slot of a core is the shared
// one.
#include "mmu/srcu_core.hpp"
#include "mmu/thread_slot.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

constexpr int alive = 1;
constexpr int freed = 2;

/// One updater replaces an object `Rounds` times and frees each after a grace period; readers use
/// what they find. A section that reads a freed object is a data race with the freeing, or sees it.
template <unsigned Slots, unsigned Rounds> struct Objects {
  explicit Objects(std::uint32_t first) : core{first} {}

  void setup() { object[0].set(alive); }

  void use(unsigned found) { MODEL_CHECK(object[found].get() == alive); }

  void read(unsigned slot) {
    const unsigned idx = core->read_lock(slot);
    use(current.load(std::memory_order_acquire));
    core->read_unlock(idx, slot);
  }

  void replace_all() {
    for (unsigned round = 0; round < Rounds; ++round) {
      object[round + 1].set(alive);
      current.store(round + 1, std::memory_order_release);
      core->synchronize();
      object[round].set(freed);
    }
  }

  void at_rest() { MODEL_CHECK(core->readers() == 0); }

  Placed<mmu::SrcuCore<RelacyAtomics, Slots>> core;
  RelacyAtomics::atomic<unsigned> current{0};
  RelacyAtomics::var<int> object[Rounds + 1];
};

/// Readers with exclusive slots, or all with the shared one.
template <unsigned Readers, unsigned Sections, unsigned Rounds, std::uint32_t First, bool Share>
struct GracePeriod : Model<GracePeriod<Readers, Sections, Rounds, First, Share>, Readers + 1> {
  void setup() { objects.setup(); }

  void thread(unsigned index) {
    if (index == Readers) return objects.replace_all();
    for (unsigned i = 0; i < Sections; ++i) objects.read(Share ? Readers : index);
  }

  void after() { objects.at_rest(); }

  Objects<Readers + 1, Rounds> objects{First};
};

/// Threads that come and go: each of the two readers lives twice, with whatever slot is free then, the
/// only exclusive one or the shared one.
template <std::uint32_t First> struct HandOver : Model<HandOver<First>, 3> {
  void setup() { objects.setup(); }

  void thread(unsigned index) {
    if (index == 2) return objects.replace_all();
    for (int life = 0; life < 2; ++life) {
      const unsigned slot = pool.claim();
      objects.read(slot);
      objects.read(slot);
      if (slot != pool.shared) pool.give_back(slot);
    }
  }

  void after() { objects.at_rest(); }

  mmu::SlotPool<RelacyAtomics, 1> pool;
  Objects<2, 2> objects{First};
};

/// A section that begins on one thread and ends on another, which has read through it in between. Slots
/// 0 and 1 are theirs, or both share.
template <bool Share> struct EndedElsewhere : Model<EndedElsewhere<Share>, 3> {
  void setup() { objects.setup(); }

  void thread(unsigned index) {
    if (index == 2) return objects.replace_all();
    for (std::uint32_t round = 0; round < 2; ++round)
      if (index == 0) {
        const unsigned idx = objects.core->read_lock(Share ? 2 : 0);
        found[round].set(objects.current.load(std::memory_order_acquire));
        section[round].set(idx);
        begun.store(round + 1, std::memory_order_release);
        RelacyAtomics::wake_all(begun);
      } else {
        for (std::uint32_t seen = 0; seen <= round;) {
          RelacyAtomics::wait_while(begun, seen);
          seen = begun.load(std::memory_order_acquire);
        }
        objects.use(found[round].get());
        objects.core->read_unlock(section[round].get(), Share ? 2 : 1);
      }
  }

  void after() { objects.at_rest(); }

  Objects<3, 2> objects{0};
  RelacyAtomics::atomic<std::uint32_t> begun{0};
  RelacyAtomics::var<unsigned> found[2];
  RelacyAtomics::var<unsigned> section[2];
};

/// Sections that overlap on one thread and end in the order in which they began.
struct Overlapping : Model<Overlapping, 3> {
  void setup() { objects.setup(); }

  void thread(unsigned index) {
    if (index == 2) return objects.replace_all();
    if (index == 1) return objects.read(1);
    const unsigned first = objects.core->read_lock(0);
    const unsigned found = objects.current.load(std::memory_order_acquire);
    const unsigned second = objects.core->read_lock(0);
    const unsigned found_later = objects.current.load(std::memory_order_acquire);
    objects.use(found);
    objects.core->read_unlock(first, 0);
    objects.use(found_later);
    objects.core->read_unlock(second, 0);
  }

  void after() { objects.at_rest(); }

  Objects<3, 2> objects{0};
};

constexpr std::uint32_t before_wrap = ~std::uint32_t(0);

constexpr Scenario scenarios[] = {
    MODEL_SMALL_SCENARIO("one_reader", GracePeriod<1, 1, 2, 0, false>),
    MODEL_SCENARIO("two_readers_once", GracePeriod<2, 1, 1, 0, false>),
    MODEL_SCENARIO("two_readers", GracePeriod<2, 2, 2, before_wrap, false>),
    MODEL_SCENARIO("shared_slot", GracePeriod<2, 2, 2, before_wrap - 1, true>),
    MODEL_SCENARIO("hand_over", HandOver<before_wrap - 1>),
    MODEL_SCENARIO("ended_elsewhere", EndedElsewhere<false>),
    MODEL_SCENARIO("ended_elsewhere_shared", EndedElsewhere<true>),
    MODEL_SCENARIO("overlapping", Overlapping),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
