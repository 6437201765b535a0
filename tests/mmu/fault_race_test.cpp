// Faults against other faults, against host-side changes, and against ranges in progress.
#include "mmu/fault.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::FakeMmu;
using testing::FakeNotifier;
using testing::Latch;
using testing::stays;
using testing::World;

/// A source that is asleep in its first fill until told to go on.
struct AsleepInFill : ::testing::Test {
  World world{8, /*source_sleeps=*/true};
  std::uintptr_t at = world.map(0, 8);
  Latch filling;
  Latch go_on;
  FillResult outcome = FillResult::filled;
  std::atomic<std::uint64_t> allocated_at_refill{0};
  std::thread sleeper;
  FaultOutcome slept;

  void SetUp() override {
    world.source->before = [this](Backing& backing, PageRun) {
      if (filling.is_open()) {
        allocated_at_refill = testing::allocated_pages(backing);
        return FillResult::filled;
      }
      filling.open();
      go_on.wait();
      return outcome;
    };
  }

  void fault_and_fall_asleep() {
    sleeper = std::thread([this] { slept = world.fault(at); });
    filling.wait();
    EXPECT_EQ(world.backing->word(0).read().state(), PageState::filling);
  }
};

TEST_F(AsleepInFill, I40_second_fault_waits_for_the_first_one_s_fill) {
  fault_and_fall_asleep();
  FaultOutcome second;
  std::atomic<bool> done{false};
  std::thread other([&] {
    second = world.fault(at);
    done = true;
  });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  EXPECT_TRUE(stays([&] { return !done.load(); }));
  go_on.open();
  sleeper.join();
  other.join();
  EXPECT_EQ(slept.result, FaultResult::done);
  EXPECT_EQ(second.result, FaultResult::done);
  EXPECT_EQ(world.source->fills_of(0), 1u);
  EXPECT_GE(world.count(Counter::fault_wait_count), 1u);
}

TEST_F(AsleepInFill, I41_second_fault_waits_and_finds_the_page_poisoned) {
  outcome = FillResult::failed;
  fault_and_fall_asleep();
  FaultOutcome second;
  std::thread other([&] { second = world.fault(at); });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  go_on.open();
  sleeper.join();
  other.join();
  EXPECT_EQ(slept.result, FaultResult::poisoned);
  EXPECT_EQ(second.result, FaultResult::poisoned);
  EXPECT_EQ(world.source->fills_of(0), 1u);
}

TEST_F(AsleepInFill, other_pages_of_the_vma_are_not_delayed) {
  fault_and_fall_asleep();
  EXPECT_EQ(world.fault(at + 3 * page_size).result, FaultResult::done);
  go_on.open();
  sleeper.join();
}

TEST_F(AsleepInFill, I13_unmap_waits_for_the_fill_and_frees_what_it_filled) {
  fault_and_fall_asleep();
  std::atomic<bool> unmapped{false};
  std::thread unmapper([&] {
    EXPECT_TRUE(world.mm.unmap(at, 8 * page_size));
    unmapped = true;
  });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  EXPECT_TRUE(stays([&] { return !unmapped.load(); }));
  EXPECT_EQ(world.backing->word(0).read().state(), PageState::filling);
  go_on.open();
  unmapper.join();
  sleeper.join();
  EXPECT_EQ(slept.result, FaultResult::no_vma);
  EXPECT_TRUE(world.mmu.calls().empty()) << "installed into a range that is gone";
  EXPECT_EQ(world.backing->word(0).read().raw(), 0u);
  EXPECT_EQ(testing::allocated_pages(*world.backing), 0u) << "leaked in a dead range";
}

TEST_F(AsleepInFill, I13_remove_waits_for_the_fill_too_and_the_fault_fills_anew) {
  fault_and_fall_asleep();
  std::thread remover([&] { EXPECT_TRUE(world.mm.advise(at, page_size, Advice::remove)); });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  go_on.open();
  remover.join();
  sleeper.join();
  EXPECT_EQ(slept.result, FaultResult::done);
  EXPECT_EQ(world.source->fills_of(0), 2u);
  EXPECT_EQ(allocated_at_refill.load(), 0u) << "an empty page that is no hole";
  EXPECT_EQ(testing::byte_at(*world.backing, 0), testing::pattern_of(0));
}

TEST_F(AsleepInFill, zap_does_not_wait_for_a_fill) {
  fault_and_fall_asleep();
  EXPECT_TRUE(world.mm.advise(at, 8 * page_size, Advice::dontneed));
  go_on.open();
  sleeper.join();
  EXPECT_EQ(slept.result, FaultResult::done);
  EXPECT_EQ(world.source->fills_of(0), 1u);
}

TEST_F(AsleepInFill, I16_backing_outlives_a_fault_that_waits_on_it) {
  fault_and_fall_asleep();
  std::thread waiting([&] { EXPECT_EQ(world.fault(at).result, FaultResult::no_vma); });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  Backing* const backing = world.backing.release();
  std::thread unmapper([&] {
    EXPECT_TRUE(world.mm.unmap(at, 8 * page_size));
    backing->put_after(world.mm.fault_srcu());
  });
  EXPECT_TRUE(stays([&] { return world.released.load() == 0; }));
  go_on.open();
  unmapper.join();
  sleeper.join();
  waiting.join();
  EXPECT_TRUE(eventually([&] { return world.released.load() == 1; })); // spf: after the VMA's own
  world.mm.fault_srcu().barrier();
  EXPECT_EQ(world.released.load(), 1);
}

struct FaultRace : ::testing::Test {
  World world{8};
  std::uintptr_t at = world.map(0, 8);
};

TEST_F(FaultRace, I20_range_in_progress_makes_the_fault_wait) {
  auto scope =
      world.mm.notifiers().invalidate_range_start({at, at + page_size, InvalidateEvent::reclaim});
  ASSERT_TRUE(scope);
  std::thread fault([&] { EXPECT_EQ(world.fault(at).result, FaultResult::done); });
  EXPECT_TRUE(eventually([&] { return world.count(Counter::fault_wait_count) > 0; }));
  EXPECT_TRUE(stays([&] { return world.mmu.calls().empty(); })) << "a stale install";
  EXPECT_FALSE(world.backing->word(0).read().owned()) << "waits with nothing held";
  EXPECT_EQ(world.fault(at + page_size).result, FaultResult::done) << "its neighbour is free";
  scope->end();
  fault.join();
  EXPECT_EQ(world.mmu.calls().size(), 2u);
  EXPECT_EQ(world.source->fills_of(0), 1u);
}

TEST_F(FaultRace, I21_range_that_ended_since_the_snapshot_makes_the_fault_retry) {
  int ranges = 0;
  world.source->before = [&](Backing&, PageRun) { // after the snapshot, before the check
    ++ranges;
    EXPECT_TRUE(world.mm.notifiers().invalidate_range_start(
        {at, at + page_size, InvalidateEvent::reclaim}));
    return FillResult::filled;
  };
  EXPECT_EQ(world.fault(at).result, FaultResult::done);
  EXPECT_EQ(ranges, 1);
  EXPECT_EQ(world.count(Counter::fault_retry_count), 1u);
  EXPECT_EQ(world.mmu.calls().size(), 1u) << "installed only after the second look";
}

struct InstallUnderWay : FaultRace, ::testing::WithParamInterface<const char*> {
  Result<void> change() {
    const std::string_view what = GetParam();
    if (what == "unmap") return world.mm.unmap(at, page_size);
    return world.mm.advise(at, page_size, what == "remove" ? Advice::remove : Advice::dontneed);
  }
};

TEST_P(InstallUnderWay, I20_change_waits_until_it_is_over) {
  Latch installing;
  Latch go_on;
  std::atomic<bool> mapped{false};
  world.mmu.decide = [&](const FakeMmu::Call& call) {
    installing.open();
    go_on.wait();
    mapped = true;
    return InstallResult{InstallStatus::installed, call.pages};
  };
  std::thread fault([&] { EXPECT_EQ(world.fault(at).result, FaultResult::done); });
  installing.wait();
  std::atomic<bool> changed{false};
  std::thread changer([&] {
    EXPECT_TRUE(change());
    EXPECT_TRUE(mapped) << "cut off under an install that goes on";
    changed = true;
  });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  EXPECT_TRUE(stays([&] { return !changed.load(); }));
  EXPECT_EQ(testing::allocated_pages(*world.backing), 1u) << "freed under an install";
  go_on.open();
  changer.join();
  fault.join();
  EXPECT_FALSE(world.backing->word(0).read().has(PageBits::installed));
}

INSTANTIATE_TEST_SUITE_P(Against, InstallUnderWay, ::testing::Values("zap", "remove", "unmap"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_F(FaultRace, I13_fault_during_an_unmap_waits_and_finds_nothing) {
  FakeNotifier notifier;
  Latch inside;
  Latch go_on;
  notifier.on_start = [&](const NotifierRange&) {
    inside.open();
    go_on.wait();
    return true;
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  std::thread unmapper([&] { EXPECT_TRUE(world.mm.unmap(at, 4 * page_size)); });
  inside.wait();
  const bool lockless = world.mm.vma_lock() != VmaLockDesign::mmap_lock;
  if (lockless) {
    EXPECT_FALSE(world.mm.lock_vma_under_rcu(at)) << "write-locked";
  }
  std::atomic<bool> done{false};
  std::thread fault([&] {
    EXPECT_EQ(world.fault(at).result, FaultResult::no_vma);
    done = true;
  });
  if (lockless) {
    EXPECT_TRUE(eventually([&] { return world.count(Counter::mm_lock_fallback_count) > 0; }));
  }
  EXPECT_TRUE(stays([&] { return !done.load(); }));
  go_on.open();
  unmapper.join();
  fault.join();
  EXPECT_TRUE(world.source->runs().empty()) << "filled in a dead range";
  EXPECT_TRUE(world.mmu.calls().empty());
  EXPECT_EQ(world.fault(at + 5 * page_size).result, FaultResult::done);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(FaultRace, fault_during_a_zap_of_other_pages_in_its_vma_waits_only_for_the_lock) {
  FakeNotifier notifier;
  std::atomic<int> done{0};
  std::thread fault;
  notifier.on_start = [&](const NotifierRange&) {
    fault = std::thread([&] {
      EXPECT_EQ(world.fault(at + 6 * page_size).result, FaultResult::done);
      ++done;
    });
    if (world.mm.vma_lock() != VmaLockDesign::mmap_lock) {
      EXPECT_TRUE(eventually([&] { return world.count(Counter::mm_lock_fallback_count) > 0; }));
    }
    EXPECT_TRUE(stays([&] { return done.load() == 0; }));
    return true;
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  EXPECT_TRUE(world.mm.advise(at, page_size, Advice::dontneed));
  fault.join();
  EXPECT_EQ(done.load(), 1);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(FaultRace, I40_many_threads_on_one_page_fill_it_once_a_round) {
  for (std::size_t round = 1; round <= 50; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] { EXPECT_EQ(world.fault(at).result, FaultResult::done); });
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(world.source->fills_of(0), round);
    ASSERT_TRUE(world.mm.advise(at, page_size, Advice::remove));
  }
}

} // namespace
} // namespace slat::mmu
