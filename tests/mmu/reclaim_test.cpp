// Reclaim, one thread at a time: what goes into the store and what stays, how it comes back, and where
// its slot goes.
#include "fake_store.hpp"
#include "support.hpp"

#include <cerrno>

namespace slat::mmu {
namespace {

using testing::allocated_pages;
using testing::FakeNotifier;
using testing::FakeStore;
using testing::pattern_of;
using testing::why;
using testing::World;

struct Reclaim : ::testing::Test {
  static constexpr std::uint64_t pages = 200; // some batches, and a part of one
  FakeStore store;
  World world{pages};
  std::uintptr_t at = world.map(0, pages, testing::free_addresses(pages));

  Reclaim() { world.backing->set_store(store); }

  [[nodiscard]] std::uintptr_t address(std::uint64_t page) const {
    return at + (page << page_shift);
  }

  std::uint64_t reclaim(std::uint64_t first, std::uint64_t count) {
    auto done = world.mm.reclaim(address(first), count << page_shift);
    EXPECT_TRUE(done) << why(done);
    return done ? done->pages : 0;
  }

  [[nodiscard]] PageState state(std::uint64_t page) const {
    return world.backing->word(page).read().state();
  }

  [[nodiscard]] std::uint64_t resident() { return world.mm.usage().resident_bytes >> page_shift; }

  /// As the guest left it, in every byte.
  void expect_content(std::uint64_t page, std::byte content) {
    ASSERT_EQ(state(page), PageState::present);
    const std::byte* const bytes = world.backing->host_view(page);
    EXPECT_TRUE(std::all_of(bytes, bytes + page_size, [&](std::byte b) { return b == content; }))
        << "page " << page;
  }
};

TEST_F(Reclaim, I38_reclaimed_page_is_gone_from_the_host_and_comes_back_as_it_was) {
  world.touch(at, 3);
  std::memset(world.backing->host_view(1), 0x99, page_size); // not what the source would give
  EXPECT_EQ(reclaim(0, 3), 3u);
  for (std::uint64_t page = 0; page < 3; ++page) {
    EXPECT_EQ(state(page), PageState::reclaimed);
    EXPECT_EQ(world.backing->word(page).read().raw() & PageBits::flags, 0u);
    EXPECT_FALSE(testing::host_pte_present(address(page)));
  }
  EXPECT_EQ(allocated_pages(*world.backing), 0u);
  EXPECT_EQ(resident(), 0u);
  EXPECT_EQ(store.pages(), 3u);
  EXPECT_EQ(world.count(Counter::reclaimed_pages), 3u);

  EXPECT_EQ(world.fault(address(1), vm_write).result, FaultResult::done);
  expect_content(1, std::byte(0x99));
  EXPECT_EQ(store.pages(), 2u) << "its slot is free";
  EXPECT_EQ(world.backing->word(1).read().slot(), 0u);
  EXPECT_EQ(world.count(Counter::restored_pages), 1u);
  EXPECT_EQ(resident(), 1u);
  EXPECT_EQ(world.source->fills_of(1), 1u) << "not the source's any more (I40)";
  EXPECT_EQ(world.mmu.calls().back(), (testing::FakeMmu::Call{address(1), 1, true}));
  EXPECT_EQ(state(0), PageState::reclaimed) << "alone";
}

TEST_F(Reclaim, goes_by_batches_over_gaps) {
  std::uint64_t present = 0;
  for (std::uint64_t page = 3; page < pages; page += page % 5 == 0 ? 3 : 1, ++present)
    ASSERT_EQ(world.fault(address(page)).result, FaultResult::done);
  const auto before = world.count(Counter::invalidate_count);
  EXPECT_EQ(reclaim(0, pages), present);
  EXPECT_LE(world.count(Counter::invalidate_count) - before, pages / 64 + 1);
  EXPECT_EQ(allocated_pages(*world.backing), 0u);
  EXPECT_EQ(reclaim(0, pages), 0u) << "twice is nothing";
  for (std::uint64_t page = 0; page < pages; ++page) {
    ASSERT_EQ(world.fault(address(page)).result, FaultResult::done);
    expect_content(page, pattern_of(page));
  }
  EXPECT_EQ(store.pages(), 0u);
  EXPECT_EQ(world.count(Counter::restored_pages), present);
}

TEST_F(Reclaim, only_what_was_asked_for) {
  world.touch(at, 8);
  EXPECT_EQ(reclaim(2, 3), 3u);
  for (std::uint64_t page = 0; page < 8; ++page)
    EXPECT_EQ(state(page), page >= 2 && page < 5 ? PageState::reclaimed : PageState::present);
  EXPECT_TRUE(testing::host_pte_present(address(1)));
  EXPECT_TRUE(testing::host_pte_present(address(5)));
}

TEST_F(Reclaim, leaves_what_is_locked_and_what_is_not_mapped) {
  world.touch(at, 12);
  ASSERT_TRUE(world.mm.lock(address(2), 2 * page_size));
  ASSERT_TRUE(world.mm.unmap(address(6), 2 * page_size));
  ASSERT_TRUE(world.mm.protect(address(9), page_size, vm_none));
  EXPECT_EQ(reclaim(0, pages), 8u);
  EXPECT_EQ(state(2), PageState::present);
  EXPECT_EQ(state(3), PageState::present);
  EXPECT_EQ(state(9), PageState::reclaimed) << "no access is no reason";
  EXPECT_EQ(state(6), PageState::none);
  auto elsewhere = world.mm.reclaim(testing::free_addresses(4), 4 * page_size);
  ASSERT_TRUE(elsewhere);
  EXPECT_EQ(elsewhere->pages, 0u);
}

TEST_F(Reclaim, leaves_pages_whose_source_failed) {
  world.source->before = [](Backing&, PageRun) { return FillResult::failed; };
  EXPECT_EQ(world.fault(at).result, FaultResult::poisoned);
  EXPECT_EQ(reclaim(0, 1), 0u);
  EXPECT_EQ(state(0), PageState::poisoned);
}

TEST_F(Reclaim, refuses_what_has_no_store_and_what_makes_no_sense) {
  auto odd = world.mm.reclaim(at + 1, page_size);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().code, Errc::invalid_argument);
  World bare(4);
  const std::uintptr_t there = bare.map(0, 4);
  bare.touch(there, 4);
  auto nowhere = bare.mm.reclaim(there, 4 * page_size);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Errc::invalid_argument);
  EXPECT_EQ(bare.backing->word(0).read().state(), PageState::present);

  auto fd = host::create_memfd("slat-test-shared", 4 * page_size);
  ASSERT_TRUE(fd);
  auto shared = Backing::create_shared("slat-test-shared", *fd);
  ASSERT_TRUE(shared);
  const BackingRef reference(*shared);
  auto mapped = world.mm.map({.length = 4 * page_size, .backing = *shared});
  ASSERT_TRUE(mapped) << why(mapped);
  ASSERT_EQ(world.fault(*mapped).result, FaultResult::done);
  auto refused = world.mm.reclaim(*mapped, 4 * page_size);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  ASSERT_TRUE(world.mm.unmap(*mapped, 4 * page_size));
}

TEST(ReclaimFull, I41_what_finds_no_room_stays_as_it_is) {
  FakeStore store(70);
  World world(200);
  world.backing->set_store(store);
  const std::uintptr_t at = world.map(0, 200, testing::free_addresses(200));
  for (std::uint64_t page = 0; page < 200; ++page)
    ASSERT_EQ(world.fault(at + (page << page_shift)).result, FaultResult::done);
  auto done = world.mm.reclaim(at, 200 * page_size);
  ASSERT_TRUE(done) << why(done);
  EXPECT_EQ(done->pages, 70u);
  EXPECT_TRUE(done->full);
  EXPECT_EQ(allocated_pages(*world.backing), 130u);
  for (std::uint64_t page = 0; page < 200; ++page) {
    const PageBits bits = world.backing->word(page).read();
    EXPECT_EQ(bits.state(), page < 70 ? PageState::reclaimed : PageState::present);
    EXPECT_FALSE(bits.owned());
    ASSERT_EQ(world.fault(at + (page << page_shift)).result, FaultResult::done);
    EXPECT_EQ(*world.backing->host_view(page), pattern_of(page));
  }
}

TEST_F(Reclaim, I41_page_that_the_store_has_lost_is_poisoned_and_never_zeroes) {
  world.touch(at, 2);
  ASSERT_EQ(reclaim(0, 2), 2u);
  store.before_load = [](PageRoom into) {
    std::fill(into.begin(), into.end(), std::byte(0x13)); // half-way, and then it fails
    return FillResult::failed;
  };
  EXPECT_EQ(world.fault(at).result, FaultResult::poisoned);
  store.before_load = nullptr;
  EXPECT_EQ(world.fault(at).result, FaultResult::poisoned) << "for good";
  EXPECT_EQ(world.mmu.calls().size(), 2u) << "installed all the same";
  EXPECT_EQ(allocated_pages(*world.backing), 0u) << "what the store has written is nobody's";
  EXPECT_EQ(store.pages(), 1u);
  EXPECT_EQ(resident(), 0u);
  EXPECT_EQ(world.count(Counter::poisoned_pages), 1u);
  EXPECT_EQ(world.count(Counter::restored_pages), 0u);
  EXPECT_EQ(world.fault(address(1)).result, FaultResult::done);
  expect_content(1, pattern_of(1));

  ASSERT_TRUE(world.mm.advise(at, page_size, Advice::remove));
  EXPECT_EQ(world.fault(at).result, FaultResult::done) << "given up, and so the source's again";
  expect_content(0, pattern_of(0));
}

TEST_F(Reclaim, I41_page_without_memory_to_come_back_to_stays_in_the_store) {
  world.touch(at, 1);
  std::memset(world.backing->host_view(0), 0x5a, page_size);
  ASSERT_EQ(reclaim(0, 1), 1u);
  store.before_load = [](PageRoom) { return FillResult::no_memory; };
  EXPECT_EQ(world.fault(at).result, FaultResult::no_memory);
  EXPECT_EQ(state(0), PageState::reclaimed);
  store.before_load = nullptr;
  host::fail_call(1, ENOMEM); // the memory itself
  EXPECT_EQ(world.fault(at).result, FaultResult::no_memory);
  EXPECT_EQ(host::fail_call(0, 0), 0u);
  EXPECT_EQ(state(0), PageState::reclaimed);
  EXPECT_EQ(store.pages(), 1u);
  EXPECT_EQ(resident(), 0u);
  EXPECT_EQ(world.fault(at).result, FaultResult::done);
  expect_content(0, std::byte(0x5a));
}

TEST_F(Reclaim, slots_go_with_their_pages_and_only_once) {
  world.touch(at, 8);
  ASSERT_EQ(reclaim(0, 8), 8u);
  const auto freed = world.count(Counter::freed_pages);
  ASSERT_TRUE(world.mm.advise(address(0), 2 * page_size, Advice::remove));
  EXPECT_EQ(store.pages(), 6u);
  ASSERT_TRUE(world.mm.unmap(address(2), 2 * page_size));
  EXPECT_EQ(store.pages(), 4u);
  EXPECT_EQ(world.count(Counter::freed_pages), freed) << "they were given back before";
  EXPECT_EQ(state(2), PageState::none);
  world.map(2, 2, address(2));
  EXPECT_EQ(world.fault(address(2)).result, FaultResult::done);
  expect_content(2, pattern_of(2));
  ASSERT_TRUE(
      world.mm.advise(address(4), page_size, Advice::dontneed)); // out of a view it is not in
  ASSERT_TRUE(world.mm.advise(address(5), page_size, Advice::pageout));
  EXPECT_EQ(store.pages(), 4u);
  host::fail_call(2, EIO); // the zap, then the punch
  ASSERT_TRUE(world.mm.advise(address(4), page_size, Advice::remove));
  EXPECT_EQ(host::fail_call(0, 0), 0u);
  EXPECT_EQ(store.pages(), 3u);
  EXPECT_EQ(allocated_pages(*world.backing), 1u) << "a hole is not zeroed";
  // Three go with the backing: the store would complain of what is left.
}

TEST_F(Reclaim, I38_reclaimed_pages_move_and_are_filled_on_demand) {
  world.touch(at, 4);
  std::memset(world.backing->host_view(2), 0x21, page_size);
  ASSERT_EQ(reclaim(0, 4), 4u);
  const std::uintptr_t to = testing::free_addresses(4);
  ASSERT_TRUE(world.mm.move(
      {.address = at, .old_length = 4 * page_size, .new_length = 4 * page_size, .to = to}));
  EXPECT_EQ(world.fault(to + 2 * page_size).result, FaultResult::done);
  expect_content(2, std::byte(0x21));
  ASSERT_TRUE(world.mm.advise(to, page_size, Advice::willneed));
  expect_content(0, pattern_of(0));
  ASSERT_TRUE(world.mm.lock(to, 4 * page_size));
  for (std::uint64_t page : {0u, 1u, 3u}) expect_content(page, pattern_of(page));
  EXPECT_EQ(store.pages(), 0u);
}

TEST_F(Reclaim, I38_devices_bring_pages_back) {
  testing::Translations cache(world.mm);
  world.touch(at, 2);
  std::memset(world.backing->host_view(1), 0x31, page_size);
  std::byte byte{};
  ASSERT_TRUE(cache->read(address(1), {&byte, 1}).result); // and now it is cached
  ASSERT_EQ(reclaim(0, 2), 2u);
  EXPECT_FALSE(cache->try_pin(address(1), 1, vm_read)) << "a load may sleep";
  ASSERT_TRUE(cache->read(address(1), {&byte, 1}).result);
  EXPECT_EQ(byte, std::byte(0x31));
  store.before_load = [](PageRoom) { return FillResult::failed; };
  const auto lost = cache->read(at, {&byte, 1}).result;
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Errc::poisoned);
}

TEST_F(Reclaim, neighbours_of_a_fault_are_not_taken_from_the_source) {
  world.touch(at, 4);
  std::memset(world.backing->host_view(2), 0x41, page_size);
  ASSERT_EQ(reclaim(0, 4), 4u);
  EXPECT_EQ(
      handle_mm_fault(
          world.mm,
          {.address = address(1), .mmu = &world.mmu, .around_start = at, .around_end = address(8)})
          .result,
      FaultResult::done);
  EXPECT_EQ(state(1), PageState::present);
  EXPECT_EQ(state(2), PageState::reclaimed);
  EXPECT_EQ(world.source->fills_of(2), 1u);
}

TEST_F(Reclaim, I24_I26_subscribers_are_told_before_a_byte_is_copied_and_with_nothing_held) {
  world.touch(at, 4);
  FakeNotifier notifier;
  notifier.on_start = [&](const NotifierRange& range) {
    EXPECT_EQ(range.event, InvalidateEvent::reclaim);
    EXPECT_TRUE(range.blockable);
    EXPECT_EQ(range.start, at);
    EXPECT_EQ(range.end, address(4)) << "no more than is present";
    EXPECT_EQ(page_locks_held(), 0);
    EXPECT_EQ(store.puts(), 0u);
    return true;
  };
  notifier.on_end = [&](const NotifierRange&) {
    EXPECT_EQ(page_locks_held(), 0);
    EXPECT_EQ(state(3), PageState::reclaimed);
  };
  ASSERT_TRUE(world.mm.notifiers().register_notifier(notifier));
  store.before_put = [&] {
    EXPECT_EQ(notifier.balance(), 1);
    EXPECT_EQ(world.mm.notifiers().sequence().count(), 1u);
    for (std::uint64_t page = 0; page < 4; ++page) {
      EXPECT_TRUE(world.backing->word(page).read().has(PageBits::locked));
      EXPECT_FALSE(testing::host_pte_present(address(page))) << "a guest could still write";
    }
    EXPECT_EQ(allocated_pages(*world.backing), 4u);
  };
  EXPECT_EQ(reclaim(0, pages), 4u);
  EXPECT_EQ(notifier.starts, 1);
  EXPECT_EQ(notifier.ends, 1);
  EXPECT_EQ(reclaim(0, pages), 0u);
  EXPECT_EQ(notifier.starts, 1) << "nobody is disturbed for nothing";
  world.mm.notifiers().unregister_notifier(notifier);
}

TEST_F(Reclaim, I27_TLBs_are_flushed_before_a_byte_is_copied) {
  struct Flusher final : TlbFlusher {
    void flush_range(std::uintptr_t start, std::uintptr_t end) override {
      ranges.emplace_back(start, end);
      EXPECT_EQ(page_locks_held(), 0);
      EXPECT_EQ(mm->notifiers().sequence().count(), 1u);
    }

    AddressSpace* mm = nullptr;
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> ranges;
  } flusher;

  flusher.mm = &world.mm;
  world.mm.add_tlb_flusher(flusher);
  world.touch(at, 2);
  store.before_put = [&] { EXPECT_EQ(flusher.ranges.size(), 1u); };
  EXPECT_EQ(reclaim(0, 2), 2u);
  EXPECT_EQ(flusher.ranges,
            (std::vector<std::pair<std::uintptr_t, std::uintptr_t>>{{at, address(2)}}));
}

TEST_F(Reclaim, I38_what_the_host_refuses_leaves_the_pages_as_they_are) {
  world.touch(at, 3);
  std::memset(world.backing->host_view(1), 0x61, page_size);
  for (const unsigned call : {1u, 2u}) { // the zap, the punch
    host::fail_call(call, EIO);
    auto done = world.mm.reclaim(at, 3 * page_size);
    EXPECT_EQ(host::fail_call(0, 0), 0u);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::os_failed);
    EXPECT_EQ(store.pages(), 0u);
    EXPECT_EQ(resident(), 3u);
    EXPECT_EQ(world.mm.notifiers().sequence().count(), 0u);
    for (std::uint64_t page = 0; page < 3; ++page)
      EXPECT_FALSE(world.backing->word(page).read().owned());
    expect_content(1, std::byte(0x61));
    EXPECT_EQ(world.fault(address(1)).result, FaultResult::done);
  }
  EXPECT_EQ(reclaim(0, 3), 3u);
}

} // namespace
} // namespace slat::mmu
