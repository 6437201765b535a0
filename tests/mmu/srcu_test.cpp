#include "mmu/srcu.hpp"

#include "hooked_atomics.hpp"
#include "support.hpp"

#include <fmt/format.h>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::HookedAtomics;
using testing::Latch;
using testing::stays;

TEST(Srcu, sections_nest_and_end_in_any_order) {
  Srcu srcu;
  auto outer = std::make_unique<Srcu::ReadGuard>(srcu);
  auto inner = std::make_unique<Srcu::ReadGuard>(srcu);
  EXPECT_EQ(srcu.readers(), 2u);
  outer.reset();
  EXPECT_EQ(srcu.readers(), 1u);
  inner.reset();
  EXPECT_EQ(srcu.readers(), 0u);
  srcu.synchronize();
}

TEST(Srcu, section_that_is_moved_or_ended_early_ends_once) {
  Srcu srcu;
  {
    Srcu::ReadGuard first(srcu);
    Srcu::ReadGuard second(std::move(first));
    EXPECT_EQ(srcu.readers(), 1u);
    second.end();
    EXPECT_EQ(srcu.readers(), 0u);
    second.end();
  }
  EXPECT_EQ(srcu.readers(), 0u);
}

TEST(Srcu, grace_period_waits_for_a_sleeping_reader_and_for_no_later_one) {
  Srcu srcu;
  Latch inside;
  Latch leave;
  Latch later_inside;
  Latch later_leave;
  std::thread early([&] {
    const Srcu::ReadGuard section(srcu);
    inside.open();
    leave.wait(); // asleep in its section
  });
  inside.wait();
  std::atomic<bool> over{false};
  std::thread writer([&] {
    srcu.synchronize();
    over = true;
  });
  EXPECT_TRUE(stays([&] { return !over.load(); }));
  std::thread later([&] {
    const Srcu::ReadGuard section(srcu); // on the side that is not waited for
    later_inside.open();
    later_leave.wait();
  });
  later_inside.wait();
  leave.open();
  EXPECT_TRUE(eventually([&] { return over.load(); })) << "waits for a reader that came later";
  later_leave.open();
  early.join();
  later.join();
  writer.join();
}

TEST(Srcu, I25_sleeping_reader_of_one_domain_delays_no_other) {
  Srcu slow;
  Srcu quick;
  const Srcu::ReadGuard asleep(slow);
  std::atomic<int> called{0};

  struct Call : DeferredCall {
    std::atomic<int>* called;
  } call{{}, &called};

  quick.synchronize(); // hangs here if the domains were one
  quick.call(call, [](DeferredCall* head) { ++*static_cast<Call*>(head)->called; });
  quick.barrier();
  EXPECT_EQ(called.load(), 1);
}

TEST(Srcu, call_runs_after_the_sections_that_exist_and_barrier_after_the_calls) {
  Srcu srcu;
  std::atomic<int> called{0};

  struct Call : DeferredCall {
    std::atomic<int>* called;
  };

  std::vector<Call> calls(50, Call{{}, &called});
  Latch inside;
  Latch leave;
  std::thread reader([&] {
    const Srcu::ReadGuard section(srcu);
    inside.open();
    leave.wait();
    EXPECT_EQ(called.load(), 0);
  });
  inside.wait();
  {
    const Srcu::ReadGuard section(srcu); // call() does not wait, so it is fine in a section
    for (Call& call : calls)
      srcu.call(call, [](DeferredCall* head) { ++*static_cast<Call*>(head)->called; });
  }
  EXPECT_TRUE(stays([&] { return called.load() == 0; }));
  leave.open();
  srcu.barrier();
  EXPECT_EQ(called.load(), 50);
  reader.join();
}

TEST(Srcu, destruction_runs_what_was_called) {
  static std::atomic<int> called{0};
  called = 0;
  DeferredCall call;
  {
    Srcu srcu;
    srcu.call(call, [](DeferredCall*) { ++called; });
  }
  EXPECT_EQ(called.load(), 1);
}

class SrcuWrap : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(SrcuWrap, I09_counts_cross_their_wrap_and_still_count) {
  Srcu srcu(GetParam());
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(srcu.readers(), 0u);
    auto section = std::make_unique<Srcu::ReadGuard>(srcu);
    EXPECT_EQ(srcu.readers(), 1u);
    std::atomic<bool> over{false};
    std::thread writer([&] {
      srcu.synchronize();
      over = true;
    });
    if (i % 3 == 0) {
      EXPECT_TRUE(stays([&] { return !over.load(); })) << i;
    }
    section.reset();
    writer.join();
  }
}

INSTANTIATE_TEST_SUITE_P(Just, SrcuWrap, ::testing::Values(0x7ffffffdu, 0xfffffffdu, 0u),
                         [](const auto& tested) {
                           return tested.param == 0u            ? "from_0"
                                  : tested.param == 0x7ffffffdu ? "below_2_31"
                                                                : "below_2_32";
                         });

TEST(Srcu, section_may_end_on_another_thread) {
  Srcu srcu;
  for (int i = 0; i < 3; ++i) {
    auto section = std::make_unique<Srcu::ReadGuard>(srcu);
    std::atomic<bool> over{false};
    std::thread writer([&] {
      srcu.synchronize();
      over = true;
    });
    EXPECT_TRUE(stays([&] { return !over.load(); }));
    std::thread([&] { section.reset(); }).join();
    writer.join(); // and nothing is left of the section on either thread's slot
    EXPECT_EQ(srcu.readers(), 0u);
  }
}

TEST(Srcu, section_may_outlive_the_thread_that_began_it) {
  Srcu srcu;
  std::unique_ptr<Srcu::ReadGuard> section;
  std::thread([&] { section = std::make_unique<Srcu::ReadGuard>(srcu); }).join();
  std::atomic<bool> over{false};
  std::thread writer([&] {
    const Srcu::ReadGuard another(srcu); // goes on from the slot of the first
  });
  writer.join();
  writer = std::thread([&] {
    srcu.synchronize();
    over = true;
  });
  EXPECT_TRUE(stays([&] { return !over.load(); }));
  section.reset();
  writer.join();
}

/// Exclusive slots, and the shared one.
class SrcuSlots : public ::testing::TestWithParam<unsigned> {};

TEST_P(SrcuSlots, section_may_end_in_another_slot) {
  SrcuCore<StdAtomics, 4> core;
  const unsigned idx = core.read_lock(GetParam());
  EXPECT_EQ(core.readers(), 1u);
  core.read_unlock(idx, 1);
  EXPECT_EQ(core.readers(), 0u);
  core.synchronize();
}

TEST_P(SrcuSlots, straggler_on_the_idle_side_is_waited_for) {
  // A reader loads the index and stops; a whole grace period passes; then it counts, on the side
  // that is idle by now. With one wait instead of two the next grace period flips back and overtakes
  // it.
  SrcuCore<HookedAtomics, 4> core;
  auto& before = GetParam() == 3 ? HookedAtomics::before_add : HookedAtomics::before_store;
  bool ran = false;
  before = [&] {
    core.synchronize();
    ran = true;
  };
  const unsigned idx = core.read_lock(GetParam());
  EXPECT_TRUE(ran);
  std::atomic<bool> over{false};
  std::thread writer([&] {
    core.synchronize();
    over = true;
  });
  EXPECT_TRUE(stays([&] { return !over.load(); })) << "the section began before this grace period";
  core.read_unlock(idx, GetParam());
  writer.join();
}

INSTANTIATE_TEST_SUITE_P(In, SrcuSlots, ::testing::Values(0u, 2u, 3u), [](const auto& tested) {
  return tested.param == 3 ? std::string("the_shared_slot") : fmt::format("slot_{}", tested.param);
});

TEST(Srcu, more_readers_than_exclusive_slots) {
  Srcu srcu;
  constexpr unsigned owners = exclusive_thread_slots; // this thread has one too
  std::atomic<unsigned> inside{0};
  Latch leave;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < owners; ++i)
    threads.emplace_back([&] {
      const Srcu::ReadGuard section(srcu);
      ++inside;
      leave.wait();
    });
  EXPECT_TRUE(eventually([&] { return inside.load() == owners; }));
  // All slots are taken: these share one, and none of what they add at the same time may be lost.
  std::atomic<unsigned> started{0};
  constexpr unsigned sharers = 4;
  for (unsigned i = 0; i < sharers; ++i)
    threads.emplace_back([&] {
      EXPECT_EQ(thread_slot(), shared_thread_slot);
      for (++started; started.load() < sharers;) std::this_thread::yield();
      for (int round = 0; round < 500000; ++round) {
        const Srcu::ReadGuard section(srcu);
      }
      const Srcu::ReadGuard section(srcu);
      ++inside;
      leave.wait();
    });
  EXPECT_TRUE(eventually([&] { return inside.load() == owners + sharers; }));
  EXPECT_EQ(srcu.readers(), owners + sharers);
  std::atomic<bool> over{false};
  std::thread writer([&] {
    srcu.synchronize();
    over = true;
  });
  EXPECT_TRUE(stays([&] { return !over.load(); }));
  leave.open();
  for (std::thread& thread : threads) thread.join();
  writer.join();
  EXPECT_EQ(srcu.readers(), 0u);
}

TEST(Srcu, short_lived_readers_leave_nothing_behind) {
  Srcu srcu(0xffffffe0);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) srcu.synchronize();
  });
  std::vector<std::thread> readers;
  for (int round = 0; round < 50; ++round) {
    for (int t = 0; t < 4; ++t)
      readers.emplace_back([&] {
        for (int i = 0; i < 20; ++i) {
          const Srcu::ReadGuard outer(srcu);
          const Srcu::ReadGuard inner(srcu);
        }
      });
    for (std::thread& reader : readers) reader.join();
    readers.clear();
  }
  stop = true;
  writer.join();
  EXPECT_EQ(srcu.readers(), 0u);
}

TEST(Srcu, readers_never_see_what_a_grace_period_took_away) {
  Srcu srcu;

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
        const Srcu::ReadGuard section(srcu);
        const Item* const item = current.load(std::memory_order_acquire);
        std::this_thread::yield(); // may sleep here
        EXPECT_EQ(item->value, 1u);
      }
    });
  for (std::size_t i = 1; i < items.size(); ++i) {
    Item* const old = current.exchange(&items[i], std::memory_order_acq_rel);
    srcu.synchronize();
    old->value = 0;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST(Srcu, grace_periods_of_several_threads_all_end) {
  Srcu srcu;
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t)
    writers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        {
          const Srcu::ReadGuard section(srcu);
        }
        srcu.synchronize();
      }
    });
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(srcu.readers(), 0u);
}

} // namespace
} // namespace slat::mmu
