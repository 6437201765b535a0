// Write tracking: whoever copies a page and finds it unwritten has copied what it held when tracking began, though devices
// write at the same time and take no lock (I31). PageWord and write_tracking.hpp are the product's.
#include "mmu/write_tracking.hpp"

#include "model/harness.hpp"

namespace slat::model {
namespace {

using mmu::PageBits;
using mmu::PageState;

/// Devices, the last thread reads. Content is relaxed, as the copies of bytes that are shared with a guest are.
template <int Devices> struct DevicesAndReader : Model<DevicesAndReader<Devices>, Devices + 1> {
  void setup() {
    PageState was{};
    MODEL_CHECK(word.claim_fill(was) == mmu::FillClaim::claimed);
    word.finish_fill(PageState::present);
    word.set_flags(PageBits::write_tracked);
  }

  void thread(unsigned index) {
    if (index < Devices) {
      (void)mmu::forget_tracking(word);
      mmu::before_writes<RelacyAtomics>();
      content[index % 2].store(1, std::memory_order_relaxed);
      return;
    }
    for (int i = 0; i < 2; ++i) {
      if (!word.try_lock_present()) MODEL_FAIL("nobody else locks");
      int written = 0;
      const bool unwritten = mmu::copy_if_unwritten(word, [&] {
        for (const auto& one : content) written += one.load(std::memory_order_relaxed);
      });
      word.unlock();
      MODEL_CHECK(!unwritten || written == 0);
    }
  }

  void after() { MODEL_CHECK(!word.read().has(PageBits::write_tracked)); }

  mmu::PageWordOf<RelacyAtomics> word;
  RelacyAtomics::atomic<int> content[2]{};
};

constexpr Scenario scenarios[] = {
    MODEL_SCENARIO("devices", DevicesAndReader<2>),
    MODEL_SMALL_SCENARIO("device", DevicesAndReader<1>),
};

} // namespace
} // namespace slat::model

int main(int argc, char** argv) {
  return slat::model::run_models(argc, argv, slat::model::scenarios);
}
