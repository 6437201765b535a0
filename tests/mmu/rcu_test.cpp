#include "mmu/rcu.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::Latch;
using testing::stays;

TEST(Rcu, grace_period_waits_for_the_sections_that_exist) {
  Latch inside;
  Latch leave;
  std::thread reader([&] {
    const rcu::ReadGuard outer;
    {
      const rcu::ReadGuard inner;
    }
    inside.open();
    leave.wait(); // only a test may sleep here
  });
  inside.wait();
  std::atomic<bool> over{false};
  std::thread writer([&] {
    rcu::synchronize();
    over = true;
  });
  EXPECT_TRUE(stays([&] { return !over.load(); })) << "the outer section is still open";
  leave.open();
  writer.join();
  reader.join();
}

TEST(Rcu, call_does_not_wait_and_runs_after_the_section) {
  static std::atomic<int> called;
  called = 0;
  DeferredCall call;
  {
    const rcu::ReadGuard section;
    rcu::call(call, [](DeferredCall*) { ++called; });
    EXPECT_TRUE(stays([] { return called.load() == 0; }));
  }
  rcu::barrier();
  EXPECT_EQ(called.load(), 1);
}

TEST(Rcu, readers_never_see_what_a_grace_period_took_away) {
  struct Item {
    std::uint64_t value = 1; // plain: 0 after the grace period
  };

  std::vector<Item> items(400);
  std::atomic<Item*> current{&items[0]};
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t)
    readers.emplace_back([&] {
      while (!stop) {
        const rcu::ReadGuard section;
        const Item* const item = current.load(std::memory_order_acquire);
        EXPECT_EQ(item->value, 1u);
      }
    });
  for (std::size_t i = 1; i < items.size(); ++i) {
    Item* const old = current.exchange(&items[i], std::memory_order_acq_rel);
    rcu::synchronize();
    old->value = 0;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

} // namespace
} // namespace slat::mmu
