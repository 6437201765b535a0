// Migration: pages get another place in their backing, and nobody who looks at their addresses notices.
#include "fake_store.hpp"
#include "support.hpp"

#include <cerrno>
#include <thread>

namespace slat::mmu {
namespace {

using testing::allocated_pages;
using testing::FakeNotifier;
using testing::FakeStore;
using testing::pattern_of;
using testing::stays;
using testing::why;
using testing::World;

/// Pages 0 to 15 of the backing are mapped; 32 more are spare.
struct Migrate : ::testing::Test {
  static constexpr std::uint64_t pages = 16;
  FakeStore store;
  World world{pages + 32};
  std::uintptr_t at = world.map(0, pages, testing::free_addresses(pages));

  Migrate() {
    world.backing->set_store(store);
    world.source->uniform = true;
  }

  ~Migrate() override { testing::expect_views_agree(world); }

  [[nodiscard]] std::uintptr_t address(std::uint64_t page) const {
    return at + (page << page_shift);
  }

  Result<void> migrate(std::uint64_t first, std::uint64_t count, std::uint64_t place) {
    return world.mm.migrate(
        {.address = address(first), .length = count << page_shift, .pgoff = place});
  }

  [[nodiscard]] PageBits bits(std::uint64_t place) const {
    return world.backing->word(place).read();
  }

  [[nodiscard]] PageState state(std::uint64_t place) const { return bits(place).state(); }

  [[nodiscard]] std::byte content(std::uint64_t place) const {
    return *world.backing->host_view(place);
  }

  [[nodiscard]] std::uint64_t resident() { return world.mm.usage().resident_bytes >> page_shift; }
};

TEST_F(Migrate, I38_pages_take_their_content_along) {
  world.touch(at, 6);
  std::memset(world.backing->host_view(3), 0x99, page_size); // not what the source would give
  ASSERT_EQ(world.fault(address(4), vm_write).result, FaultResult::done);
  const auto done = migrate(2, 3, 20);
  ASSERT_TRUE(done) << why(done);
  EXPECT_EQ(content(20), pattern_of(2));
  EXPECT_EQ(content(21), std::byte(0x99));
  EXPECT_EQ(content(22), pattern_of(4));
  EXPECT_TRUE(bits(22).has(PageBits::dirty));
  for (const std::uint64_t old : {2u, 3u, 4u}) EXPECT_EQ(bits(old).raw(), 0u);
  EXPECT_EQ(allocated_pages(*world.backing), 6u) << "the old place is given back";
  EXPECT_EQ(resident(), 6u);
  EXPECT_EQ(world.count(Counter::migrated_pages), 3u);
  EXPECT_EQ(world.mm.vmas().size(), 3u);
  EXPECT_EQ(world.fault(address(3), vm_write).result, FaultResult::done);
  EXPECT_EQ(world.source->fills_of(21), 0u) << "it has content (I40)";
  EXPECT_EQ(world.fault(address(10)).result, FaultResult::done);
  EXPECT_EQ(content(10), pattern_of(10)) << "what stayed is filled where it was";
}

TEST_F(Migrate, place_that_was_left_can_be_mapped_and_what_comes_home_is_one_VMA_again) {
  world.touch(at, 4);
  ASSERT_TRUE(migrate(1, 2, 16));
  ASSERT_TRUE(migrate(8, 1, 1)) << "into the gap";
  EXPECT_EQ(world.mm.vmas().size(), 5u);
  ASSERT_TRUE(migrate(8, 1, 8));
  ASSERT_TRUE(migrate(1, 2, 1));
  EXPECT_EQ(world.mm.vmas().size(), 1u);
  EXPECT_EQ(content(1), pattern_of(1));
  EXPECT_EQ(content(2), pattern_of(2));
  EXPECT_EQ(allocated_pages(*world.backing), 4u);
}

TEST_F(Migrate, I40_I41_what_is_reclaimed_lost_or_empty_stays_so) {
  world.source->before = [](Backing&, PageRun run) {
    return run.first == 3 ? FillResult::failed : FillResult::filled;
  };
  world.touch(at, 2);
  std::memset(world.backing->host_view(1), 0x55, page_size);
  EXPECT_EQ(world.fault(address(3)).result, FaultResult::poisoned);
  ASSERT_TRUE(world.mm.reclaim(address(1), page_size));
  ASSERT_EQ(store.pages(), 1u);
  ASSERT_TRUE(migrate(0, 4, 30));
  EXPECT_EQ(state(30), PageState::present);
  EXPECT_EQ(state(31), PageState::reclaimed);
  EXPECT_EQ(state(32), PageState::none);
  EXPECT_EQ(state(33), PageState::poisoned);
  EXPECT_EQ(allocated_pages(*world.backing), 1u) << "nothing is brought back for it";
  EXPECT_EQ(world.fault(address(1)).result, FaultResult::done);
  EXPECT_EQ(content(31), std::byte(0x55));
  EXPECT_EQ(store.pages(), 0u);
  EXPECT_EQ(world.fault(address(2)).result, FaultResult::done);
  EXPECT_EQ(world.source->fills_of(32), 1u);
  EXPECT_EQ(world.fault(address(3)).result, FaultResult::poisoned);
}

TEST_F(Migrate, pages_whose_writes_are_tracked_count_as_written) {
  world.touch(at, 1);
  const auto tracked = world.mm.track_writes(at, page_size);
  ASSERT_TRUE(tracked && *tracked == 1) << why(tracked);
  ASSERT_TRUE(migrate(0, 1, 20));
  alignas(64) std::array<std::byte, page_size> bytes;
  EXPECT_FALSE(world.mm.read_unwritten(at, bytes));
}

TEST_F(Migrate, goes_over_VMAs_and_keeps_what_each_allows) {
  ASSERT_TRUE(world.mm.protect(address(4), 4 * page_size, vm_read));
  ASSERT_TRUE(world.mm.lock(address(10), 2 * page_size));
  world.touch(at, pages);
  ASSERT_TRUE(migrate(2, 10, 20));
  EXPECT_EQ(world.fault(address(5), vm_write).result, FaultResult::denied);
  EXPECT_EQ(world.fault(address(3), vm_write).result, FaultResult::done);
  EXPECT_EQ(content(23), pattern_of(5));
  EXPECT_EQ(world.mm.usage().locked_bytes, 2 * page_size);
  EXPECT_EQ(allocated_pages(*world.backing), pages);
}

TEST_F(Migrate, is_refused_where_it_makes_no_sense) {
  const auto refused = [&](std::uint64_t first, std::uint64_t count, std::uint64_t place) {
    const auto done = migrate(first, count, place);
    EXPECT_FALSE(done);
    return done ? Errc::os_failed : done.error().code;
  };
  world.touch(at, 2);
  EXPECT_EQ(refused(0, 2, 1), Errc::exists) << "onto itself, too";
  EXPECT_EQ(refused(0, 2, 0), Errc::exists);
  EXPECT_EQ(refused(0, 2, 15), Errc::exists);
  EXPECT_EQ(refused(0, 2, pages + 31), Errc::invalid_argument);
  EXPECT_EQ(refused(0, 2, ~std::uint64_t(0)), Errc::invalid_argument);
  EXPECT_EQ(refused(15, 2, 20), Errc::not_mapped);
  EXPECT_EQ(refused(0, 0, 20), Errc::invalid_argument);
  world.source->uniform = false;
  EXPECT_EQ(refused(0, 2, 20), Errc::invalid_argument) << "an empty page would become another one";
  EXPECT_EQ(content(0), pattern_of(0));
  EXPECT_EQ(world.mm.vmas().size(), 1u);
}

TEST_F(Migrate, I24_I26_I27_nothing_is_copied_before_all_who_could_write_are_out) {
  struct Flusher final : TlbFlusher {
    void flush_range(std::uintptr_t start, std::uintptr_t end) override { on_flush(start, end); }

    std::function<void(std::uintptr_t, std::uintptr_t)> on_flush;
  } flusher;

  world.touch(at, 2);
  int flushes = 0;
  flusher.on_flush = [&](std::uintptr_t start, std::uintptr_t end) {
    ++flushes;
    EXPECT_EQ(start, at);
    EXPECT_EQ(end, address(2));
    EXPECT_EQ(page_locks_held(), 0);
    EXPECT_EQ(world.mm.notifiers().sequence().count(), 1u);
    EXPECT_FALSE(testing::host_pte_present(at)) << "a guest could still write";
    EXPECT_EQ(state(20), PageState::none);
    EXPECT_EQ(state(0), PageState::present);
    std::memset(world.backing->host_view(0), 0x77, page_size); // a write that was on its way
  };
  world.mm.add_tlb_flusher(flusher);
  FakeNotifier notifier;
  notifier.on_start = [&](const NotifierRange& range) {
    EXPECT_EQ(range.event, InvalidateEvent::migrate);
    EXPECT_EQ(page_locks_held(), 0);
    EXPECT_EQ(state(0), PageState::present);
    return true;
  };
  notifier.on_end = [&](const NotifierRange&) {
    EXPECT_EQ(state(0), PageState::none);
    EXPECT_EQ(state(20), PageState::present);
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  ASSERT_TRUE(migrate(0, 2, 20));
  world.mm.notifiers().unregister_notifier(notifier);
  EXPECT_EQ(flushes, 1);
  EXPECT_EQ(notifier.starts, 1);
  EXPECT_EQ(notifier.ends, 1);
  EXPECT_EQ(content(20), std::byte(0x77));
}

TEST_F(Migrate, I26_waits_for_a_device_that_has_the_page_pinned) {
  const testing::Translations devices(world.mm);
  auto pin = devices->pin(address(1), page_size, vm_write);
  ASSERT_TRUE(pin) << why(pin);
  std::atomic<bool> done{false};
  std::thread migration([&] {
    EXPECT_TRUE(migrate(0, 2, 20));
    done = true;
  });
  EXPECT_TRUE(stays([&] { return !done; }));
  std::memset(pin->bytes().data(), 0x42, page_size);
  {
    const auto dropped = std::move(*pin);
  }
  migration.join();
  EXPECT_EQ(content(21), std::byte(0x42));
  auto again = devices->pin(address(1), page_size, vm_read);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->bytes().data(), world.backing->host_view(21)) << "no old translation";
}

TEST_F(Migrate, I18_I21_fault_on_its_way_to_install_starts_again) {
  // The fault has found the page at its old place; the install waits until the range has begun.
  world.touch(at, 1);
  std::atomic<bool> migrated{false};
  std::thread migration;
  world.mmu.decide = [&](const testing::FakeMmu::Call& call) {
    if (!migration.joinable()) { // under the page lock: the migration waits for it
      migration = std::thread([&] {
        EXPECT_TRUE(migrate(0, 1, 20));
        migrated = true;
      });
      EXPECT_TRUE(stays([&] { return !migrated; }));
    }
    return InstallResult{InstallStatus::installed, call.pages};
  };
  EXPECT_EQ(world.fault(at).result, FaultResult::done);
  migration.join();
  EXPECT_FALSE(bits(20).has(PageBits::installed)) << "what was installed is gone";
  EXPECT_EQ(content(20), pattern_of(0));
}

} // namespace
} // namespace slat::mmu
