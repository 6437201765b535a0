// Write tracking: a page that nobody is said to have written holds what it held, whoever writes, and by whatever way.
#include "fake_store.hpp"
#include "support.hpp"

#include <chrono>
#include <cstring>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::FakeMmu;
using testing::FakeNotifier;
using testing::FakeStore;
using testing::Latch;
using testing::pattern_of;
using testing::stays;
using testing::why;
using testing::World;

/// A guard that remembers what is protected.
struct Guard final : ViewGuard {
  Result<void> guard(std::uintptr_t, std::size_t) override { return {}; }

  Result<void> write_protect(std::uintptr_t start, std::size_t length, bool on) override {
    if (fails) return fail(Errc::os_failed, EINVAL, "the host refuses");
    for (std::uintptr_t at = start; at < start + length; at += page_size)
      if (on)
        pages.insert(at);
      else
        pages.erase(at);
    return {};
  }

  std::set<std::uintptr_t> pages;
  bool fails = false;
};

struct WriteTrack : ::testing::Test {
  static constexpr std::uint64_t pages = 200; // some batches, and a part of one
  Guard guard;
  FakeStore store;
  World world{pages, false, {.guard = &guard}};
  std::uintptr_t at = world.map(0, pages, testing::free_addresses(pages));

  WriteTrack() { world.backing->set_store(store); }

  [[nodiscard]] std::uintptr_t address(std::uint64_t page) const {
    return at + (page << page_shift);
  }

  void fault(std::uint64_t page, std::uint32_t access = vm_read) {
    ASSERT_EQ(world.fault(address(page), access).result, FaultResult::done);
  }

  std::uint64_t track(std::uint64_t first, std::uint64_t count) {
    auto done = world.mm.track_writes(address(first), count << page_shift);
    EXPECT_TRUE(done) << why(done);
    return done ? *done : 0;
  }

  [[nodiscard]] bool is_unwritten(std::uintptr_t where) {
    alignas(64) std::array<std::byte, page_size> bytes{};
    if (!world.mm.read_unwritten(where, bytes)) return false;
    const std::uint64_t page = (where - at) >> page_shift;
    if (page < pages) {
      EXPECT_EQ(std::memcmp(bytes.data(), world.backing->host_view(page), page_size), 0);
    }
    return true;
  }

  [[nodiscard]] bool unwritten(std::uint64_t page) { return is_unwritten(address(page)); }
};

TEST_F(WriteTrack, a_read_installs_read_only_and_a_write_is_told) {
  fault(0), fault(1);
  EXPECT_EQ(track(0, 2), 2u);
  EXPECT_EQ(guard.pages.size(), 2u);
  EXPECT_TRUE(unwritten(0) && unwritten(1));
  fault(0);
  EXPECT_EQ(world.mmu.calls().back(), (FakeMmu::Call{address(0), 1, false}));
  EXPECT_TRUE(unwritten(0));
  fault(0, vm_write);
  EXPECT_EQ(world.mmu.calls().back(), (FakeMmu::Call{address(0), 1, true}));
  EXPECT_FALSE(unwritten(0));
  EXPECT_TRUE(unwritten(1)) << "its neighbour is not concerned";
  EXPECT_EQ(world.count(Counter::write_tracked_pages), 2u);
  EXPECT_EQ(world.count(Counter::tracked_write_count), 1u);
  fault(0);
  EXPECT_EQ(world.mmu.calls().back(), (FakeMmu::Call{address(0), 1, true}))
      << "once is enough: it is not protected any more";
}

TEST_F(WriteTrack, a_write_is_told_before_it_is_let_through) {
  // Who copies the page without its lock, and looks afterwards, must not miss it.
  fault(0);
  ASSERT_EQ(track(0, 1), 1u);
  bool told = false;
  world.mmu.decide = [&](const FakeMmu::Call& call) {
    told = !world.backing->word(0).read().has(PageBits::write_tracked);
    return InstallResult{InstallStatus::installed, call.pages};
  };
  fault(0, vm_write);
  EXPECT_TRUE(told);
}

TEST_F(WriteTrack, what_is_not_present_counts_as_written) {
  fault(1);
  EXPECT_EQ(track(0, 3), 1u);
  EXPECT_FALSE(unwritten(0));
  EXPECT_TRUE(unwritten(1));
  EXPECT_FALSE(unwritten(2));
  EXPECT_FALSE(is_unwritten(testing::free_addresses(1))) << "nothing is mapped there";
  fault(0);
  EXPECT_EQ(world.mmu.calls().back(), (FakeMmu::Call{address(0), 1, true}));
}

TEST_F(WriteTrack, goes_by_batches_over_gaps) {
  std::uint64_t present = 0;
  for (std::uint64_t page = 3; page < pages; page += page % 5 == 0 ? 3 : 1, ++present) fault(page);
  EXPECT_EQ(track(0, pages), present);
  EXPECT_EQ(guard.pages.size(), present);
  std::uint64_t found = 0;
  for (std::uint64_t page = 0; page < pages; ++page) found += unwritten(page) ? 1 : 0;
  EXPECT_EQ(found, present);
}

TEST_F(WriteTrack, a_run_is_installed_alike) {
  for (std::uint64_t page = 0; page < 8; ++page) fault(page);
  ASSERT_EQ(track(2, 3), 3u);
  ASSERT_TRUE(world.mm.advise(at, 8 * page_size, Advice::dontneed));
  const auto around = [&](std::uint64_t page, std::uint32_t access) {
    const auto outcome = handle_mm_fault(world.mm, {.address = address(page),
                                                    .access = access,
                                                    .mmu = &world.mmu,
                                                    .around_start = address(0),
                                                    .around_end = address(8)});
    EXPECT_EQ(outcome.result, FaultResult::done);
    return world.mmu.calls().back();
  };
  EXPECT_EQ(around(3, vm_read), (FakeMmu::Call{address(2), 3, false}));
  EXPECT_EQ(around(6, vm_read), (FakeMmu::Call{address(5), 3, true}));
  EXPECT_EQ(around(0, vm_write), (FakeMmu::Call{address(0), 2, true}));
  ASSERT_TRUE(world.mm.advise(at, 8 * page_size, Advice::dontneed));
  EXPECT_EQ(around(3, vm_write), (FakeMmu::Call{address(3), 1, true}));
  EXPECT_TRUE(unwritten(2) && !unwritten(3) && unwritten(4));
}

TEST_F(WriteTrack, what_cannot_be_installed_read_only_counts_as_written) {
  struct Simple final : SecondaryMmu {
    InstallResult install(const InstallRequest& run) override {
      EXPECT_TRUE(run.writable);
      return {InstallStatus::installed, run.pages};
    }

    [[nodiscard]] bool can_write_protect() const override { return false; }
  } simple;

  fault(0);
  ASSERT_EQ(track(0, 1), 1u);
  EXPECT_EQ(handle_mm_fault(world.mm, {.address = at, .mmu = &simple}).result, FaultResult::done);
  EXPECT_FALSE(unwritten(0));
}

TEST_F(WriteTrack, I26_a_device_that_writes_is_told_and_one_that_reads_is_not) {
  testing::Translations cache(world.mm);
  fault(0), fault(1);
  {
    auto before = cache->pin(at, page_size, vm_read);
    ASSERT_TRUE(before) << why(before); // the translation is cached from here on
  }
  ASSERT_EQ(track(0, 2), 2u);
  std::uint64_t word = 0;
  ASSERT_TRUE(cache->read(address(0), std::as_writable_bytes(std::span(&word, 1))).result);
  EXPECT_TRUE(unwritten(0));
  ASSERT_TRUE(cache->write(address(1), std::as_bytes(std::span(&word, 1))).result);
  EXPECT_TRUE(unwritten(0));
  EXPECT_FALSE(unwritten(1));
  auto pin = cache->try_pin(at, 2 * page_size, vm_write);
  ASSERT_TRUE(pin);
  EXPECT_FALSE(unwritten(0)) << "it may be writing";
}

TEST_F(WriteTrack, I26_waits_for_a_device_that_may_be_writing) {
  testing::Translations cache(world.mm);
  fault(0);
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
  std::thread tracker([&] {
    EXPECT_EQ(track(0, 1), 1u);
    EXPECT_EQ(*world.backing->host_view(0), std::byte(0x77));
    done = true;
  });
  EXPECT_TRUE(eventually([&] { return world.mm.notifiers().sequence().count() > 0; }));
  EXPECT_TRUE(stays([&] { return !done.load(); }));
  let_go.open();
  device.join();
  tracker.join();
  EXPECT_TRUE(unwritten(0));
}

TEST_F(WriteTrack, I20_waits_for_an_install_under_way) {
  Latch installing;
  Latch go_on;
  std::atomic<bool> mapped{false};
  world.mmu.decide = [&](const FakeMmu::Call& call) {
    installing.open();
    go_on.wait();
    mapped = true;
    return InstallResult{InstallStatus::installed, call.pages};
  };
  std::thread guest([&] { fault(0, vm_write); });
  installing.wait();
  std::thread tracker([&] {
    EXPECT_EQ(track(0, 1), 1u);
    EXPECT_TRUE(mapped) << "writable for the guest after it was protected";
  });
  EXPECT_TRUE(eventually([&] { return world.backing->word(0).read().has(PageBits::waiters); }));
  go_on.open();
  guest.join();
  tracker.join();
  EXPECT_TRUE(unwritten(0));
}

TEST_F(WriteTrack, subscribers_are_told_to_protect_and_nothing_else) {
  fault(0);
  FakeNotifier notifier;
  std::vector<InvalidateEvent> events;
  notifier.on_start = [&](const NotifierRange& range) {
    events.push_back(range.event);
    EXPECT_EQ(page_locks_held(), 0u); // I24
    return true;
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  ASSERT_EQ(track(0, 1), 1u);
  ASSERT_TRUE(world.mm.untrack_writes(at, page_size));
  world.mm.notifiers().unregister_notifier(notifier);
  EXPECT_EQ(events, std::vector{InvalidateEvent::write_protect});
}

TEST_F(WriteTrack, reclaim_keeps_it_and_the_content) {
  fault(0);
  std::memset(world.backing->host_view(0), 0x99, page_size);
  ASSERT_EQ(track(0, 1), 1u);
  auto gone = world.mm.reclaim(at, page_size);
  ASSERT_TRUE(gone) << why(gone);
  ASSERT_EQ(gone->pages, 1u);
  EXPECT_FALSE(unwritten(0)) << "it cannot be told of a page that is not there";
  fault(0);
  EXPECT_EQ(world.mmu.calls().back(), (FakeMmu::Call{address(0), 1, false}));
  EXPECT_TRUE(unwritten(0));
}

TEST_F(WriteTrack, what_is_removed_or_moved_counts_as_written) {
  for (std::uint64_t page = 0; page < 8; ++page) fault(page);
  ASSERT_EQ(track(0, 8), 8u);
  ASSERT_TRUE(world.mm.advise(address(0), page_size, Advice::dontneed));
  EXPECT_TRUE(unwritten(0)) << "its content is what it was";
  ASSERT_TRUE(world.mm.advise(address(1), page_size, Advice::remove));
  fault(1);
  EXPECT_FALSE(unwritten(1));
  auto moved = world.mm.move({.address = address(2),
                              .old_length = page_size,
                              .new_length = page_size,
                              .to = testing::free_addresses(4)});
  ASSERT_TRUE(moved) << why(moved);
  EXPECT_FALSE(is_unwritten(*moved)) << "mremap drops the host's protection";
  ASSERT_TRUE(world.mm.protect(address(3), page_size, vm_read));
  EXPECT_TRUE(unwritten(3));
}

TEST_F(WriteTrack, untracked_pages_are_writable_at_once) {
  for (std::uint64_t page = 0; page < 4; ++page) fault(page);
  ASSERT_EQ(track(0, 4), 4u);
  ASSERT_TRUE(world.mm.untrack_writes(address(0), 2 * page_size));
  EXPECT_EQ(guard.pages, (std::set{address(2), address(3)}));
  EXPECT_FALSE(unwritten(0));
  EXPECT_TRUE(unwritten(2));
}

TEST_F(WriteTrack, a_host_that_refuses_is_an_error_and_tracks_nothing) {
  fault(0);
  guard.fails = true;
  const auto refused = world.mm.track_writes(at, page_size);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::os_failed);
  EXPECT_FALSE(unwritten(0));
  EXPECT_FALSE(world.backing->word(0).read().owned());
  EXPECT_EQ(world.mm.notifiers().sequence().count(), 0u);
  guard.fails = false;
  EXPECT_FALSE(world.mm.track_writes(at + 1, page_size)) << "no page";
}

TEST_F(WriteTrack, I38_no_write_of_a_device_is_missed) {
  testing::Translations cache(world.mm);
  constexpr std::uint64_t count = 4;
  for (std::uint64_t page = 0; page < count; ++page) fault(page);
  std::atomic<bool> stop{false};
  std::thread device([&] {
    for (std::uint64_t round = 1; !stop.load(); ++round)
      ASSERT_TRUE(cache->write(address(round % count), std::as_bytes(std::span(&round, 1))).result);
  });
  const auto read = [&](std::uint64_t page, std::array<std::byte, page_size>& bytes) {
    return world.mm.read_unwritten(address(page), bytes);
  };
  alignas(64) std::array<std::byte, page_size> before;
  alignas(64) std::array<std::byte, page_size> after;
  const unsigned rounds = testing::sanitized ? 500 : 5000;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  std::uint64_t same = 0;
  std::uint64_t written = 0;
  for (unsigned round = 0; round < rounds || ((same == 0 || written == 0) &&
                                              std::chrono::steady_clock::now() < deadline);
       ++round) {
    const std::uint64_t page = round % count;
    (void)track(page, 1);
    if (!read(page, before)) continue;
    if (round % 2 == 0) std::this_thread::yield();
    if (read(page, after)) {
      ASSERT_EQ(before, after) << "round " << round;
      ++same;
    } else {
      ++written;
    }
  }
  stop = true;
  device.join();
  EXPECT_GT(same, 0u);
  EXPECT_GT(written, 0u);
}

} // namespace
} // namespace slat::mmu
