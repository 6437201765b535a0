// Flush requests of stage2/vcpu_flush.hpp: a vCPU with a TLB, and threads that take pages away.
#include "mmu/stage2/vcpu_flush.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

constexpr std::uint64_t empty = 0;

template <int Flushers, int Rounds>
struct VcpuAgainstFlushers : Model<VcpuAgainstFlushers<Flushers, Rounds>, 1 + Flushers> {
  VcpuAgainstFlushers() {
    for (int i = 0; i < Flushers; ++i) entry[i].store(std::uint64_t(i) + 1);
  }

  void thread(unsigned index) {
    if (index > 0) return take_away(int(index) - 1);
    for (int round = 0; round < Rounds; ++round) {
      flush.enter([this] { drop(); });
      use(rl::rand(Flushers));
      flush.poll([this] {
        for (const std::uint64_t cached : tlb) check(cached); // until now they may be in use
        drop();
      });
      use(rl::rand(Flushers));
      flush.leave();
    }
  }

  /// In guest mode: by the TLB, or else by the table.
  void use(unsigned which) {
    if (tlb[which] == empty) tlb[which] = entry[which].load(std::memory_order_acquire);
    if (tlb[which] == empty) return; // a fault
    check(tlb[which]);
  }

  void check(std::uint64_t page) {
    if (page == empty) return;
    MODEL_CHECK(!freed[page]); // I36
    (void)content[page].get(); // races with the freeing
  }

  void drop() {
    for (std::uint64_t& cached : tlb) cached = empty;
  }

  void take_away(int which) {
    const std::uint64_t page = entry[which].exchange(empty, std::memory_order_relaxed);
    flush.wait(flush.request());
    freed[page] = true;
    content[page].set(-1);
  }

  mmu::stage2::VcpuFlushOf<RelacyAtomics> flush;
  RelacyAtomics::atomic<std::uint64_t> entry[Flushers];
  RelacyAtomics::var<int> content[Flushers + 1];
  std::uint64_t tlb[Flushers] = {}; // the vCPU's
  bool freed[Flushers + 1] = {};    // the model's own notes
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("one_flush", VcpuAgainstFlushers<1, 2>),
    MODEL_SCENARIO("two_flushes", VcpuAgainstFlushers<2, 2>),
    MODEL_SMALL_SCENARIO("one_round", VcpuAgainstFlushers<1, 1>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
