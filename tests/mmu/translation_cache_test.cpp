// Pins and cached translations, one thread at a time. translation_cache_race_test.cpp has pins against
// ranges.
#include "mmu/translation_cache.hpp"

#include "mmu/alloc.hpp"
#include "support.hpp"

#include <cstring>

namespace slat::mmu {
namespace {

using testing::FakeNotifier;
using testing::pattern_of;
using testing::why;
using testing::World;
using Pin = TranslationCache::Pin;

struct Translation : ::testing::Test {
  World world{128};
  testing::Translations cache{world.mm};
  std::uintptr_t at = world.map(0, 16);

  [[nodiscard]] PageBits word(std::uint64_t page) const { return world.backing->word(page).read(); }

  Pin pin(std::uintptr_t address, std::uint64_t length = 1, std::uint32_t access = vm_read) {
    auto pinned = cache->pin(address, length, access);
    EXPECT_TRUE(pinned) << why(pinned);
    return pinned ? std::move(*pinned) : Pin();
  }
};

TEST_F(Translation, pin_is_the_page_in_the_host_view) {
  Pin pinned = pin(at + 3 * page_size + 40, 100);
  EXPECT_EQ(pinned.bytes().data(), world.backing->host_view(3) + 40);
  EXPECT_EQ(pinned.bytes().size(), 100u);
  EXPECT_EQ(pinned.bytes()[0], pattern_of(3)) << "filled as a guest access would";
  EXPECT_EQ(word(3).pins(), 1u);
  EXPECT_TRUE(world.mmu.calls().empty()) << "and installed nowhere";
  pinned.release();
  EXPECT_EQ(word(3).pins(), 0u);
  EXPECT_FALSE(pinned);
  pinned.release(); // harmless
}

TEST_F(Translation, pin_covers_several_pages_of_one_vma_and_is_cut_at_its_end) {
  const Pin whole = pin(at + page_size + 10, 3 * page_size);
  EXPECT_EQ(whole.bytes().size(), 3 * page_size);
  for (std::uint64_t page = 1; page < 5; ++page) EXPECT_EQ(word(page).pins(), 1u);
  EXPECT_EQ(word(0).pins() + word(5).pins(), 0u);
  auto tail = cache->try_pin(at + 2 * page_size, 100 * page_size, vm_read);
  ASSERT_TRUE(tail);
  EXPECT_EQ(tail->bytes().size(), 3 * page_size) << "up to the first page without content";
  EXPECT_EQ(word(4).pins(), 2u);
}

TEST_F(Translation, pin_ends_where_the_vma_ends_and_at_the_limit) {
  EXPECT_EQ(pin(at + 15 * page_size, 5 * page_size).bytes().size(), page_size);
  const std::uintptr_t large = world.map(16, 100);
  EXPECT_EQ(pin(large, 100 * page_size).bytes().size(), TranslationCache::max_pages * page_size);
}

TEST_F(Translation, release_marks_what_was_done) {
  pin(at, 1, vm_read).release();
  EXPECT_TRUE(word(0).has(PageBits::accessed));
  EXPECT_FALSE(word(0).has(PageBits::dirty));
  pin(at + page_size, 1, vm_write).release();
  EXPECT_TRUE(word(1).has(PageBits::accessed | PageBits::dirty));
}

TEST_F(Translation, pin_moves_and_ends_once) {
  Pin first = pin(at);
  Pin second(std::move(first));
  EXPECT_FALSE(first); // NOLINT(bugprone-use-after-move): that it is empty is the point
  EXPECT_EQ(word(0).pins(), 1u);
  {
    auto other = cache->try_pin(at, 1, vm_read);
    ASSERT_TRUE(other);
    EXPECT_EQ(word(0).pins(), 2u);
    second = std::move(*other);
    EXPECT_EQ(word(0).pins(), 1u) << "the old one was let go";
  }
  EXPECT_EQ(word(0).pins(), 1u);
  EXPECT_EQ(cache->pins(), 1u);
}

TEST_F(Translation, errors_say_what_is_wrong) {
  EXPECT_EQ(cache->pin(testing::free_addresses(1), 1, vm_read).error().code, Errc::not_mapped);
  EXPECT_EQ(cache->pin(at, 0, vm_read).error().code, Errc::invalid_argument);
  EXPECT_EQ(cache->pin(at, ~std::uint64_t(0), vm_read).error().code, Errc::invalid_argument);
  EXPECT_EQ(cache->pin(at, 1, vm_exec).error().code, Errc::access_denied);
  EXPECT_EQ(cache->pin(at, 1, vm_exec).error().code, Errc::access_denied) << "twice the same";
  world.source->before = [](Backing&, PageRun) { return FillResult::failed; };
  EXPECT_EQ(cache->pin(at + page_size, 1, vm_read).error().code, Errc::poisoned);
  world.source->before = [](Backing&, PageRun) { return FillResult::no_memory; };
  EXPECT_EQ(cache->pin(at + 2 * page_size, 1, vm_read).error().code, Errc::no_memory);
  EXPECT_EQ(cache->pins(), 0u);
}

TEST_F(Translation, try_pin_takes_what_is_there_and_does_not_fill) {
  EXPECT_FALSE(cache->try_pin(at, 1, vm_read)) << "empty";
  EXPECT_EQ(world.source->fills_of(0), 0u);
  pin(at).release();
  EXPECT_TRUE(cache->try_pin(at, 1, vm_read));
  EXPECT_FALSE(cache->try_pin(at, 0, vm_read));
  EXPECT_FALSE(cache->try_pin(at, 1, vm_exec));
  const auto range =
      world.mm.notifiers().invalidate_range_start({at, at + page_size, InvalidateEvent::zap});
  EXPECT_FALSE(cache->try_pin(at, 1, vm_read)) << "a range is in progress";
}

TEST_F(Translation, a_page_that_somebody_locks_can_be_pinned) {
  pin(at).release();
  world.backing->word(0).lock(); // an install, say
  EXPECT_TRUE(cache->try_pin(at, 1, vm_read));
  world.backing->word(0).unlock();
}

TEST_F(Translation, I26_hit_takes_no_vma_lock) {
  pin(at).release();
  const std::uint64_t misses = world.count(Counter::translation_miss_count);
  const std::uint64_t hits = world.count(Counter::translation_hit_count);
  pin(at + page_size).release(); // empty: a fault fills it, but nothing is looked up for the pin
  for (int i = 0; i < 10; ++i) pin(at + page_size).release();
  EXPECT_EQ(world.count(Counter::translation_miss_count), misses);
  EXPECT_EQ(world.count(Counter::translation_hit_count), hits + 11);
}

TEST_F(Translation, I26_range_drops_the_translations_that_it_covers_and_no_others) {
  const std::uintptr_t elsewhere = world.map(16, 4, testing::free_addresses(2048));
  for (const std::uintptr_t address : {at, elsewhere}) pin(address).release();
  std::uint64_t misses = world.count(Counter::translation_miss_count);
  ASSERT_TRUE(world.mm.advise(at + 15 * page_size, page_size, Advice::dontneed));
  pin(elsewhere).release();
  EXPECT_EQ(world.count(Counter::translation_miss_count), misses);
  pin(at).release();
  EXPECT_EQ(world.count(Counter::translation_miss_count), misses + 1);
}

TEST_F(Translation, I26_translation_follows_the_map) {
  std::memset(pin(at, 1, vm_write).bytes().data(), 1, 1);
  // Moved: the old address means nothing, the new one the same page.
  const std::uintptr_t to = testing::free_addresses(16);
  ASSERT_TRUE(world.mm.move(
      {.address = at, .old_length = 16 * page_size, .new_length = 16 * page_size, .to = to}));
  EXPECT_EQ(cache->pin(at, 1, vm_read).error().code, Errc::not_mapped);
  EXPECT_EQ(pin(to).bytes()[0], std::byte(1));
  // Unmapped and something else mapped there.
  ASSERT_TRUE(world.mm.unmap(to, 16 * page_size));
  EXPECT_EQ(world.map(40, 4, to), to);
  EXPECT_EQ(pin(to).bytes()[0], pattern_of(40));
  // Access taken away and given back.
  ASSERT_TRUE(world.mm.protect(to, 4 * page_size, vm_read));
  EXPECT_EQ(cache->pin(to, 1, vm_write).error().code, Errc::access_denied);
  ASSERT_TRUE(world.mm.protect(to, 4 * page_size, vm_read | vm_write));
  EXPECT_TRUE(cache->pin(to, 1, vm_write));
  // Removed: filled again.
  std::memset(pin(to, 1, vm_write).bytes().data(), 9, 1);
  ASSERT_TRUE(world.mm.advise(to, page_size, Advice::remove));
  EXPECT_EQ(pin(to).bytes()[0], pattern_of(40));
}

TEST_F(Translation, I26_non_blockable_range_is_refused_while_a_page_of_it_is_pinned) {
  FakeNotifier before;
  FakeNotifier after;
  ASSERT_TRUE(world.mm.notifiers().register_notifier(after));
  const NotifierRange range{at, at + 2 * page_size, InvalidateEvent::reclaim, false};
  Pin pinned = pin(at + page_size);
  EXPECT_FALSE(cache->invalidate_range_start(range));
  const auto refused = world.mm.notifiers().invalidate_range_start(range);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::would_block);
  EXPECT_EQ(after.starts.load(), 0) << "the cache comes first in the chain";
  EXPECT_EQ(pinned.bytes()[0], pattern_of(1));
  const NotifierRange next{at + 2 * page_size, at + 3 * page_size, InvalidateEvent::reclaim, false};
  EXPECT_TRUE(world.mm.notifiers().invalidate_range_start(next)) << "pinned is only its neighbour";
  EXPECT_EQ(after.balance(), 0);
  pinned.release();
  EXPECT_TRUE(world.mm.notifiers().invalidate_range_start(range));
  world.mm.notifiers().unregister_notifier(after);
}

TEST_F(Translation, I18_refusal_by_the_cache_ends_exactly_those_that_had_started) {
  World other(4);
  FakeNotifier first;
  ASSERT_TRUE(other.mm.notifiers().register_notifier(first));
  const testing::Translations others(other.mm);
  const std::uintptr_t there = other.map(0, 4);
  auto pinned = others->pin(there, 1, vm_read);
  ASSERT_TRUE(pinned);
  EXPECT_FALSE(other.mm.notifiers().invalidate_range_start(
      {there, there + page_size, InvalidateEvent::reclaim, false}));
  EXPECT_EQ(first.starts.load(), 1);
  EXPECT_EQ(first.ends.load(), 1);
  EXPECT_EQ(other.mm.notifiers().sequence().count(), 0u);
  pinned->release();
  EXPECT_TRUE(others->try_pin(there, 1, vm_read)) << "nothing is left of the refused range";
  other.mm.notifiers().unregister_notifier(first);
}

TEST_F(Translation, there_is_no_limit_to_pins_but_memory) {
  pin(at).release();
  std::vector<Pin> pins;
  for (;;) {
    auto one = cache->try_pin(at, 1, vm_read); // does not make room: that might sleep
    if (!one) break;
    pins.push_back(std::move(*one));
  }
  EXPECT_GE(pins.size(), 16u);
  EXPECT_EQ(word(0).pins(), pins.size());
  std::thread([&] {
    fail_allocation(1);
    EXPECT_EQ(cache->pin(at, 1, vm_read).error().code, Errc::no_memory);
    EXPECT_TRUE(cache->pin(at, 1, vm_read));
    EXPECT_TRUE(cache->try_pin(at, 1, vm_read)) << "there is room now";
  }).join();
  pins.clear();
  EXPECT_EQ(word(0).pins(), 0u);
}

TEST_F(Translation, many_small_vmas_are_translated_right_whatever_the_cache_holds) {
  const std::uintptr_t base = testing::free_addresses(128);
  for (std::uint64_t i = 0; i < 50; ++i) // no two of them continue each other
    ASSERT_EQ(world.map(16 + (i * 37) % 50, 1, base + 2 * i * page_size), base + 2 * i * page_size);
  for (int round = 0; round < 2; ++round)
    for (std::uint64_t i = 0; i < 50; ++i)
      EXPECT_EQ(pin(base + 2 * i * page_size).bytes()[0], pattern_of(16 + (i * 37) % 50));
}

TEST_F(Translation, I26_data_written_through_a_stale_pointer_would_be_found) {
  // What the tortures rely on: an empty page is a hole, so a write after release shows at the fill.
  std::byte* stale = nullptr;
  {
    const Pin pinned = pin(at, 1, vm_write);
    stale = pinned.bytes().data();
  }
  ASSERT_TRUE(world.mm.advise(at, page_size, Advice::remove));
  ASSERT_EQ(testing::allocated_pages(*world.backing), 0u);
  *stale = std::byte(1);
  EXPECT_EQ(testing::allocated_pages(*world.backing), 1u);
}

using TranslationDeathTest = Translation;

TEST_F(TranslationDeathTest, misuse_is_found_in_checked_builds) {
  if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Pin pinned = pin(at);
  EXPECT_DEATH((void)world.mm.advise(at + page_size, page_size, Advice::dontneed), "I26");
  EXPECT_DEATH((void)cache->pin(at + page_size, 1, vm_read), "I26");
  pinned.release();
  EXPECT_DEATH((void)pinned.bytes(), "I26");
  const auto range = world.mm.notifiers().invalidate_range_start(
      {at + 4 * page_size, at + 5 * page_size, InvalidateEvent::zap});
  EXPECT_DEATH((void)cache->pin(at, 1, vm_read), "I26");
}

} // namespace
} // namespace slat::mmu
