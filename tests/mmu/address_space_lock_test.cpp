// lock and unlock (mlock, munlock), and what advice says to what is locked.
#include "mmu/address_space.hpp"

#include "support.hpp"

namespace slat::mmu {
namespace {

using testing::expect_views_agree;
using testing::World;

struct LockTest : ::testing::Test {
  World world{32};
  std::uintptr_t base = testing::free_addresses(32);

  [[nodiscard]] std::uintptr_t at(std::uint64_t page) const { return base + (page << page_shift); }

  void SetUp() override { world.map(0, 10, base); }

  bool host_locked(std::uintptr_t address) {
    return testing::host_locked_pages(world.name).contains(address);
  }

  Result<void> lock(std::uint64_t page, std::uint64_t count) {
    return world.mm.lock(at(page), count << page_shift);
  }

  Result<void> unlock(std::uint64_t page, std::uint64_t count) {
    return world.mm.unlock(at(page), count << page_shift);
  }

  Result<void> advise(std::uint64_t page, std::uint64_t count, Advice advice) {
    return world.mm.advise(at(page), count << page_shift, advice);
  }
};

TEST_F(LockTest, fills_splits_and_tells_the_host) {
  ASSERT_TRUE(lock(2, 3));
  EXPECT_EQ(world.mm.vmas().size(), 3u);
  EXPECT_EQ(world.mm.vmas()[1].flags, std::uint32_t(vm_read | vm_write | vm_locked));
  for (std::uint64_t page = 0; page < 10; ++page)
    EXPECT_EQ(world.backing->word(page).read().state(),
              page >= 2 && page < 5 ? PageState::present : PageState::none);
  EXPECT_FALSE(host_locked(at(1)));
  EXPECT_TRUE(host_locked(at(2)));
  EXPECT_TRUE(host_locked(at(4)));
  EXPECT_FALSE(host_locked(at(5)));
  EXPECT_EQ(world.mm.usage().locked_bytes, 3 * page_size);
  expect_views_agree(world);
  ASSERT_TRUE(lock(0, 10)) << "what is locked may be locked";
  EXPECT_EQ(world.mm.vmas().size(), 1u);
  ASSERT_TRUE(unlock(0, 10));
  EXPECT_FALSE(host_locked(at(2)));
  EXPECT_EQ(world.mm.usage().locked_bytes, 0u);
  expect_views_agree(world);
}

TEST_F(LockTest, announces_nothing) {
  testing::FakeNotifier notifier;
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  ASSERT_TRUE(lock(2, 3));
  ASSERT_TRUE(unlock(2, 3));
  EXPECT_EQ(notifier.starts.load(), 0);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(LockTest, wants_all_of_it_mapped) {
  for (const bool locks : {true, false}) {
    const auto refused = locks ? lock(8, 4) : unlock(8, 4);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::not_mapped);
  }
  EXPECT_EQ(world.mm.vmas().size(), 1u);
  EXPECT_EQ(lock(0, 0).error().code, Errc::invalid_argument);
}

TEST_F(LockTest, what_cannot_be_filled_is_not_locked) {
  world.source->before = [](Backing&, PageRun run) {
    return run.first <= 4 && 4 < run.first + run.count ? FillResult::failed : FillResult::filled;
  };
  const auto refused = lock(2, 4);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::poisoned);
  EXPECT_EQ(world.mm.usage().locked_bytes, 0u);
  EXPECT_EQ(world.mm.vmas().size(), 1u);
}

TEST_F(LockTest, what_is_locked_is_not_discarded) {
  ASSERT_TRUE(lock(4, 2));
  for (const Advice advice : {Advice::dontneed, Advice::remove, Advice::pageout, Advice::cold}) {
    const auto refused = advise(2, 4, advice);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::invalid_argument);
    EXPECT_EQ(world.backing->word(4).read().state(), PageState::present);
    EXPECT_TRUE(advise(0, 4, advice)) << "what is beside it";
  }
  EXPECT_TRUE(advise(0, 10, Advice::willneed));
  EXPECT_EQ(world.source->fills_of(4), 1u);
  ASSERT_TRUE(unlock(4, 2));
  EXPECT_TRUE(advise(2, 4, Advice::remove));
}

TEST_F(LockTest, what_is_locked_may_be_unmapped_and_protected) {
  ASSERT_TRUE(lock(0, 10));
  ASSERT_TRUE(world.mm.protect(at(2), 2 * page_size, vm_none));
  EXPECT_TRUE(host_locked(at(2)));
  ASSERT_TRUE(world.mm.unmap(at(4), 2 * page_size));
  EXPECT_EQ(world.mm.usage().locked_bytes, 8 * page_size);
  expect_views_agree(world);
}

TEST_F(LockTest, what_grows_while_locked_is_locked_and_filled) {
  ASSERT_TRUE(lock(0, 10));
  ASSERT_TRUE(
      world.mm.move({.address = base, .old_length = 10 * page_size, .new_length = 14 * page_size}));
  EXPECT_EQ(world.mm.vmas().size(), 1u);
  EXPECT_TRUE(host_locked(at(13)));
  EXPECT_EQ(world.backing->word(13).read().state(), PageState::present);
  EXPECT_EQ(world.mm.usage().locked_bytes, 14 * page_size);
  const auto moved = world.mm.move(
      {.address = base, .old_length = 14 * page_size, .new_length = 16 * page_size, .to = at(16)});
  ASSERT_TRUE(moved) << testing::why(moved);
  EXPECT_TRUE(host_locked(at(16)));
  EXPECT_EQ(world.backing->word(15).read().state(), PageState::present);
  EXPECT_EQ(world.source->fills_of(3), 1u);
  expect_views_agree(world);
}

TEST(LockLimit, more_than_the_limit_is_refused) {
  World world(32, false, {.locked_limit = 4 * page_size});
  const std::uintptr_t at = world.map(0, 8);
  ASSERT_TRUE(world.mm.lock(at, 4 * page_size));
  ASSERT_TRUE(world.mm.lock(at, 4 * page_size)) << "again is no more";
  const auto refused = world.mm.lock(at + 3 * page_size, 2 * page_size);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::no_memory);
  EXPECT_EQ(world.mm.usage().locked_bytes, 4 * page_size);
  ASSERT_TRUE(world.mm.unlock(at, page_size));
  EXPECT_TRUE(world.mm.lock(at + 4 * page_size, page_size));
  expect_views_agree(world);
}

struct AdviseTest : LockTest {};

TEST_F(AdviseTest, willneed_fills_and_installs_nothing) {
  ASSERT_TRUE(advise(2, 5, Advice::willneed));
  EXPECT_EQ(testing::allocated_pages(*world.backing), 5u);
  EXPECT_TRUE(world.mmu.calls().empty());
  ASSERT_TRUE(advise(0, 10, Advice::willneed));
  EXPECT_EQ(world.source->fills_of(3), 1u);
  EXPECT_EQ(advise(8, 4, Advice::willneed).error().code, Errc::not_mapped);
}

TEST_F(AdviseTest, populate_fills_and_installs_each_page_once) {
  world.mm.set_populate_mmu(world.mmu);
  ASSERT_TRUE(world.mm.protect(at(4), 2 * page_size, vm_read));
  ASSERT_TRUE(advise(1, 8, Advice::populate));
  std::map<std::uintptr_t, int> installs;
  for (const auto& call : world.mmu.calls())
    for (std::size_t i = 0; i < call.pages; ++i) ++installs[call.address + (i << page_shift)];
  EXPECT_EQ(installs.size(), 8u);
  for (const auto& [address, count] : installs) EXPECT_EQ(count, 1) << address - base;
  EXPECT_LE(world.mmu.calls().size(), 3u) << "in runs";
}

TEST_F(AdviseTest, filling_ends_where_a_page_is_poisoned) {
  world.source->before = [](Backing&, PageRun run) {
    return run.first <= 4 && 4 < run.first + run.count ? FillResult::failed : FillResult::filled;
  };
  EXPECT_EQ(advise(2, 5, Advice::willneed).error().code, Errc::poisoned);
  EXPECT_EQ(world.backing->word(2).read().state(), PageState::present);
  EXPECT_EQ(world.backing->word(4).read().state(), PageState::poisoned);
}

TEST_F(AdviseTest, filling_without_memory_says_so_and_may_be_tried_again) {
  world.source->before = [](Backing&, PageRun) { return FillResult::no_memory; };
  EXPECT_EQ(advise(2, 5, Advice::willneed).error().code, Errc::no_memory);
  world.source->before = nullptr;
  EXPECT_TRUE(advise(2, 5, Advice::willneed));
}

TEST_F(AdviseTest, cold_clears_the_aging_bits_and_keeps_the_pages) {
  testing::FakeNotifier notifier;
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  world.touch(base, 10);
  ASSERT_TRUE(advise(2, 3, Advice::cold));
  EXPECT_EQ(notifier.flush_youngs.load(), 1);
  EXPECT_EQ(notifier.starts.load(), 0);
  for (std::uint64_t page = 0; page < 10; ++page) {
    EXPECT_EQ(world.backing->word(page).read().has(PageBits::accessed), page < 2 || page >= 5);
    EXPECT_TRUE(world.backing->word(page).read().has(PageBits::installed));
  }
  EXPECT_EQ(advise(8, 4, Advice::cold).error().code, Errc::not_mapped);
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(AdviseTest, I38_pageout_takes_the_page_from_the_guest_and_keeps_its_data) {
  world.touch(base, 10);
  *world.backing->host_view(3) = std::byte('p');
  ASSERT_TRUE(advise(2, 3, Advice::pageout));
  EXPECT_FALSE(testing::host_pte_present(at(3)));
  EXPECT_TRUE(testing::host_pte_present(at(5)));
  EXPECT_FALSE(world.backing->word(3).read().has(PageBits::installed));
  world.touch(base, 10);
  EXPECT_EQ(*reinterpret_cast<std::byte*>(at(3)), std::byte('p'));
  EXPECT_EQ(world.source->fills_of(3), 1u);
}

} // namespace
} // namespace slat::mmu
