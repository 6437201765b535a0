// Reclaim against faults, devices and changes of the map.
#include "fake_store.hpp"
#include "support.hpp"

#include <chrono>
#include <cstring>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::FakeNotifier;
using testing::FakeStore;
using testing::Latch;
using testing::pattern_of;
using testing::stays;
using testing::why;
using testing::World;

struct ReclaimRace : ::testing::Test {
  FakeStore store;
  World world{16};
  std::uintptr_t at = world.map(0, 16, testing::free_addresses(16)); // where nobody else maps

  ReclaimRace() { world.backing->set_store(store); }

  std::uint64_t reclaim(std::uintptr_t address, std::uint64_t pages) {
    auto done = world.mm.reclaim(address, pages << page_shift);
    EXPECT_TRUE(done) << why(done);
    return done ? done->pages : 0;
  }

  [[nodiscard]] PageState state(std::uint64_t page) const {
    return world.backing->word(page).read().state();
  }
};

TEST_F(ReclaimRace, I26_waits_for_a_device_and_keeps_what_it_writes_last) {
  testing::Translations cache(world.mm);
  Latch holds;
  Latch let_go;
  std::thread device([&] {
    auto pin = cache->pin(at, page_size, vm_write);
    ASSERT_TRUE(pin) << why(pin);
    holds.open();
    let_go.wait();
    std::memset(pin->bytes().data(), 0x77, pin->bytes().size());
  });
  holds.wait();
  std::atomic<bool> done{false};
  std::thread reclaimer([&] {
    EXPECT_EQ(reclaim(at, 1), 1u);
    done = true;
  });
  EXPECT_TRUE(eventually([&] { return world.mm.notifiers().sequence().count() > 0; }));
  EXPECT_TRUE(stays([&] { return !done.load(); })) << "copied from under a device";
  EXPECT_FALSE(world.backing->word(0).read().owned()) << "waits with nothing held";
  let_go.open();
  device.join();
  reclaimer.join();
  EXPECT_EQ(world.fault(at).result, FaultResult::done);
  EXPECT_EQ(*world.backing->host_view(0), std::byte(0x77));
}

/// What the map may do between the first look and the page locks, from a subscriber's start on.
struct MapChanges : ReclaimRace, ::testing::WithParamInterface<const char*> {
  std::uintptr_t elsewhere = testing::free_addresses(16);

  Result<void> change() {
    const std::string_view what = GetParam();
    if (what == "lock") return world.mm.lock(at, 4 * page_size);
    if (what == "move") {
      auto moved = world.mm.move({.address = at,
                                  .old_length = 16 * page_size,
                                  .new_length = 16 * page_size,
                                  .to = elsewhere});
      if (!moved) return forward(moved);
      // Where it is now it has translations again, of which no range has told.
      world.touch(elsewhere, 4);
      return {};
    }
    return fail(Errc::invalid_argument, 0, "no such change");
  }
};

TEST_P(MapChanges, I20_what_is_not_mapped_there_any_more_is_left_alone) {
  world.touch(at, 4);
  FakeNotifier notifier;
  bool changed = false;
  notifier.on_start = [&](const NotifierRange& range) {
    if (range.event != InvalidateEvent::reclaim || changed) return true;
    changed = true;
    std::thread([&] {
      const auto done = change();
      EXPECT_TRUE(done) << why(done);
    }).join();
    return true;
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  EXPECT_EQ(reclaim(at, 4), 0u);
  EXPECT_TRUE(changed);
  EXPECT_EQ(store.puts(), 0u);
  for (std::uint64_t page = 0; page < 4; ++page) EXPECT_EQ(state(page), PageState::present);
  if (std::string_view(GetParam()) == "move") {
    EXPECT_TRUE(testing::host_pte_present(elsewhere));
  }
  world.mm.notifiers().unregister_notifier(notifier);
}

INSTANTIATE_TEST_SUITE_P(Meanwhile, MapChanges, ::testing::Values("move", "lock"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_F(ReclaimRace, I20_pages_that_are_mapped_anew_under_the_range_are_left_alone) {
  world.touch(at, 4);
  FakeNotifier notifier;
  bool changed = false;
  notifier.on_start = [&](const NotifierRange& range) {
    if (range.event != InvalidateEvent::reclaim || changed) return true;
    changed = true;
    std::thread(
        [&] { // other pages at the address; filled, but kept from being installed by the range
          EXPECT_TRUE(world.mm.unmap(at, 16 * page_size));
          world.map(8, 4, at);
          EXPECT_TRUE(world.mm.advise(at, 4 * page_size, Advice::willneed));
          world.map(0, 4, at + 8 * page_size); // the old ones, elsewhere
          EXPECT_TRUE(world.mm.advise(at + 8 * page_size, 4 * page_size, Advice::willneed));
        })
        .join();
    return true;
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  EXPECT_EQ(reclaim(at, 4), 0u);
  EXPECT_EQ(store.puts(), 0u);
  EXPECT_EQ(state(0), PageState::present);
  EXPECT_EQ(state(8), PageState::present);
  world.mm.notifiers().unregister_notifier(notifier);
}

/// A reclaim that is about to put a page, which it has locked.
struct AboutToPut : ReclaimRace {
  Latch putting;
  Latch go_on;
  std::thread reclaimer;
  std::uint64_t reclaimed = 0;

  void start(std::uint64_t pages = 1) {
    world.touch(at, 4);
    store.before_put = [this] {
      putting.open();
      go_on.wait();
    };
    reclaimer = std::thread([this, pages] { reclaimed = reclaim(at, pages); });
    putting.wait();
  }

  /// `change` ends only after the reclaim.
  void expect_waits(const std::function<void()>& change) {
    start();
    std::atomic<bool> done{false};
    std::thread changer([&] {
      change();
      done = true;
    });
    EXPECT_TRUE(eventually([&] {
      return world.backing->word(0).read().has(PageBits::waiters) ||
             world.count(Counter::fault_wait_count) != 0;
    }));
    EXPECT_TRUE(stays([&] { return !done.load(); }));
    go_on.open();
    reclaimer.join();
    changer.join();
    EXPECT_EQ(reclaimed, 1u);
  }
};

TEST_F(AboutToPut, I13_unmap_waits_and_drops_the_slot) {
  expect_waits([&] { EXPECT_TRUE(world.mm.unmap(at, 4 * page_size)); });
  EXPECT_EQ(store.pages(), 0u);
  EXPECT_EQ(world.backing->word(0).read().raw(), 0u);
  EXPECT_EQ(testing::allocated_pages(*world.backing), 0u);
}

TEST_F(AboutToPut, I39_remove_waits_and_drops_the_slot) {
  expect_waits([&] { EXPECT_TRUE(world.mm.advise(at, 4 * page_size, Advice::remove)); });
  EXPECT_EQ(store.pages(), 0u);
  EXPECT_EQ(world.fault(at).result, FaultResult::done);
  EXPECT_EQ(world.source->fills_of(0), 2u) << "not what was given up";
}

TEST_F(AboutToPut, I38_move_waits_and_takes_the_slot_along) {
  const std::uintptr_t to = testing::free_addresses(16);
  expect_waits([&] {
    auto moved = world.mm.move(
        {.address = at, .old_length = 16 * page_size, .new_length = 16 * page_size, .to = to});
    EXPECT_TRUE(moved) << why(moved);
  });
  EXPECT_EQ(store.pages(), 1u);
  EXPECT_EQ(world.fault(to).result, FaultResult::done);
  EXPECT_EQ(*world.backing->host_view(0), pattern_of(0));
}

TEST_F(AboutToPut, I38_fault_waits_and_brings_the_page_back) {
  const auto installed = [&] { return world.mmu.calls().size(); };
  std::size_t before = 0;
  expect_waits([&] {
    before = installed();
    EXPECT_EQ(handle_mm_fault(world.mm, {.address = at}).result, FaultResult::done);
  });
  EXPECT_EQ(installed(), before);
  EXPECT_EQ(state(0), PageState::present);
  EXPECT_EQ(*world.backing->host_view(0), pattern_of(0));
  EXPECT_EQ(world.count(Counter::restored_pages), 1u);
  EXPECT_EQ(store.pages(), 0u);
}

TEST_F(AboutToPut, I20_nothing_is_installed_meanwhile) {
  start();
  const std::size_t before = world.mmu.calls().size();
  std::thread fault([&] { EXPECT_EQ(world.fault(at).result, FaultResult::done); });
  std::thread neighbour([&] { EXPECT_EQ(world.fault(at + page_size).result, FaultResult::done); });
  neighbour.join(); // out of the range
  EXPECT_EQ(world.mmu.calls().size(), before + 1);
  EXPECT_TRUE(stays([&] { return world.mmu.calls().size() == before + 1; }));
  go_on.open();
  reclaimer.join();
  fault.join();
  EXPECT_EQ(*world.backing->host_view(0), pattern_of(0));
}

TEST_F(AboutToPut, mlock_meanwhile_is_no_error) {
  // It comes without a range: between the page locks and the zap it would make the zap fail.
  start();
  std::thread locker([&] { EXPECT_TRUE(world.mm.lock(at, 4 * page_size)); });
  go_on.open();
  reclaimer.join();
  locker.join();
  for (std::uint64_t page = 0; page < 4; ++page) EXPECT_EQ(state(page), PageState::present);
  EXPECT_EQ(reclaim(at, 4), 0u);
}

/// The host's answer to the zap of what is locked, though it is unlocked again when the reclaim looks.
TEST_F(ReclaimRace, mlock_and_munlock_meanwhile_are_no_error) {
  world.touch(at, 4);
  FakeNotifier notifier;
  bool lock = true;
  notifier.on_start = [&](const NotifierRange&) {
    if (!lock) return true;
    std::thread([&] {
      EXPECT_TRUE(world.mm.lock(at, 4 * page_size));
      EXPECT_TRUE(world.mm.unlock(at, 4 * page_size));
    }).join();
    return true;
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  host::fail_call(1, EINVAL);
  EXPECT_EQ(reclaim(at, 4), 0u);
  EXPECT_EQ(host::fail_call(0, 0), 0u);
  for (std::uint64_t page = 0; page < 4; ++page) EXPECT_EQ(state(page), PageState::present);

  // Nobody locks anything, or the host says something else: that is an error.
  for (const auto& [locks, error] : {std::pair(false, EINVAL), std::pair(true, EIO)}) {
    lock = locks;
    host::fail_call(1, error);
    auto done = world.mm.reclaim(at, 4 * page_size);
    EXPECT_EQ(host::fail_call(0, 0), 0u);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().os_error, error);
  }
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(ReclaimRace, I20_reclaim_waits_for_an_install_under_way) {
  Latch installing;
  Latch go_on;
  std::atomic<bool> mapped{false};
  world.mmu.decide = [&](const testing::FakeMmu::Call& call) {
    installing.open();
    go_on.wait();
    mapped = true;
    return InstallResult{InstallStatus::installed, call.pages};
  };
  std::thread fault([&] { EXPECT_EQ(world.fault(at).result, FaultResult::done); });
  installing.wait();
  std::atomic<bool> done{false};
  std::thread reclaimer([&] {
    EXPECT_EQ(reclaim(at, 1), 1u);
    EXPECT_TRUE(mapped);
    done = true;
  });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  EXPECT_TRUE(stays([&] { return !done.load(); }));
  go_on.open();
  fault.join();
  reclaimer.join();
  EXPECT_EQ(state(0), PageState::reclaimed);
}

TEST_F(ReclaimRace, mm_lock_held_for_writing_does_not_stop_it_nor_the_other_way_round) {
  // A subscriber that comes while a reclaim is in its range, and a writer that waits for the subscriber:
  // were the reclaim to wait for the mm lock in there, all three would for ever.
  world.touch(at, 4);
  FakeNotifier inside;
  FakeNotifier late;
  Latch registering;
  std::thread registrar;
  std::thread writer;
  inside.on_start = [&](const NotifierRange& range) {
    if (range.event != InvalidateEvent::reclaim) return true;
    registrar = std::thread([&] {
      registering.open();
      EXPECT_TRUE(world.mm.notifiers().register_notifier(late));
    });
    registering.wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(20)); // it waits for this range now
    writer = std::thread(
        [&] { EXPECT_TRUE(world.mm.advise(at + 8 * page_size, page_size, Advice::dontneed)); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20)); // and it for that
    return true;
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(inside));
  (void)reclaim(at, 4); // some designs give way
  registrar.join();
  writer.join();
  world.mm.notifiers().unregister_notifier(inside);
  world.mm.notifiers().unregister_notifier(late);
}

TEST_F(ReclaimRace, I38_I40_pages_are_faulted_back_as_they_go) {
  constexpr std::uint64_t count = 4;
  for (std::uint64_t page = 0; page < count; ++page)
    ASSERT_EQ(world.fault(at + (page << page_shift)).result, FaultResult::done);
  std::atomic<bool> stop{false};
  // Without a secondary MMU, as devices do: no range keeps them off. At once, when a page goes.
  std::thread faulter([&] {
    std::uint64_t round = 0;
    while (!stop.load()) {
      const std::uint64_t page = round++ % count;
      for (int i = 0; i < 20'000 && state(page) != PageState::reclaimed && !stop.load(); ++i) {
      }
      if (handle_mm_fault(world.mm, {.address = at + (page << page_shift)}).result !=
          FaultResult::done)
        ADD_FAILURE();
    }
  });
  const auto rounds = testing::sanitized ? 300u : 2000u;
  for (unsigned round = 0; round < rounds && !HasFailure(); ++round) {
    (void)reclaim(at, count);
    for (std::uint64_t page = 0; page < count; ++page) {
      ASSERT_EQ(handle_mm_fault(world.mm, {.address = at + (page << page_shift)}).result,
                FaultResult::done);
      for (const std::size_t offset : {std::size_t(0), page_size / 2, page_size - 1})
        ASSERT_EQ(world.backing->host_view(page)[offset], pattern_of(page))
            << "page " << page << ", round " << round;
    }
  }
  stop = true;
  faulter.join();
  EXPECT_GT(world.count(Counter::restored_pages), rounds);
  for (std::uint64_t page = 0; page < count; ++page) EXPECT_EQ(world.source->fills_of(page), 1u);
}

TEST_F(ReclaimRace, I38_devices_lose_no_write) {
  testing::Translations cache(world.mm);
  constexpr std::uint64_t count = 4;
  std::atomic<bool> stop{false};
  std::thread reclaimer([&] {
    while (!stop.load()) (void)reclaim(at, count);
  });
  std::uint64_t written[count] = {};
  std::memset(written, 0, sizeof written);
  for (std::uint64_t page = 0; page < count; ++page)
    ASSERT_TRUE(cache->write(at + (page << page_shift), std::as_bytes(std::span(&written[page], 1)))
                    .result);
  // Until enough pages have come back: the reclaimer may start late.
  const std::uint64_t rounds = testing::sanitized ? 2'000 : 20'000;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (std::uint64_t round = 1; round <= rounds || (world.count(Counter::restored_pages) <= 10 &&
                                                    std::chrono::steady_clock::now() < deadline);
       ++round) {
    const std::uint64_t page = round % count;
    const std::uintptr_t where = at + (page << page_shift);
    std::uint64_t found = 0;
    ASSERT_TRUE(cache->read(where, std::as_writable_bytes(std::span(&found, 1))).result);
    ASSERT_EQ(found, written[page]) << "round " << round;
    written[page] = round;
    ASSERT_TRUE(cache->write(where, std::as_bytes(std::span(&round, 1))).result);
  }
  stop = true;
  reclaimer.join();
  EXPECT_GT(world.count(Counter::restored_pages), 10u);
}

} // namespace
} // namespace slat::mmu
