// The store of reclaimed pages: what is put comes back, byte by byte, or not at all.
#include "vmm/compressed_store.hpp"

#include "mmu/alloc.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

namespace slat::vmm {
namespace {

using mmu::FillResult;
using Page = std::array<std::byte, mmu::page_size>;

Page random_page(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Page page;
  for (std::size_t i = 0; i < page.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(page.data() + i, &word, sizeof word);
  }
  return page;
}

Page text_page(std::uint64_t seed) {
  Page page;
  for (std::size_t i = 0; i < page.size(); ++i)
    page[i] = std::byte('a' + (i * (seed % 7 + 1) / 16 + seed) % 26);
  return page;
}

Page same_page(std::uint64_t word) {
  Page page;
  for (std::size_t i = 0; i < page.size(); i += 8) std::memcpy(page.data() + i, &word, sizeof word);
  return page;
}

struct Store : ::testing::Test {
  CompressedStore store{{.limit = 1 << 20}};

  std::uint32_t put(const Page& page) {
    const auto slot = store.put(page);
    EXPECT_TRUE(slot);
    return slot.value_or(0);
  }

  void expect_back(std::uint32_t slot, const Page& page) {
    Page into;
    into.fill(std::byte(0xee));
    ASSERT_EQ(store.load(slot, into), FillResult::filled);
    EXPECT_EQ(into, page);
  }
};

TEST_F(Store, every_kind_of_page_comes_back) {
  const Page pages[] = {text_page(3), random_page(1), same_page(0), same_page(0x0123456789abcdef)};
  std::vector<std::uint32_t> slots;
  for (const Page& page : pages) slots.push_back(put(page));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    expect_back(slots[i], pages[i]);
    expect_back(slots[i], pages[i]); // as often as one likes
  }
  const auto stats = store.stats();
  EXPECT_EQ(stats.pages, 4u);
  EXPECT_EQ(stats.same_filled, 2u);
  EXPECT_EQ(stats.uncompressed, 1u);
  EXPECT_GT(stats.bytes, mmu::page_size);
  EXPECT_LT(stats.bytes, mmu::page_size + 1000) << "text, compressed";
  for (const std::uint32_t slot : slots) store.drop(slot);
  EXPECT_EQ(store.stats().pages, 0u);
  EXPECT_EQ(store.stats().bytes, 0u);
  EXPECT_EQ(store.stats().put_pages, 4u);
}

TEST_F(Store, pages_of_nearly_one_word_are_not_same_filled) {
  for (const std::size_t at : {std::size_t(0), std::size_t(8), mmu::page_size - 1}) {
    Page page = same_page(0);
    page[at] = std::byte(1);
    const std::uint32_t slot = put(page);
    EXPECT_EQ(store.stats().same_filled, 0u);
    expect_back(slot, page);
    store.drop(slot);
  }
}

TEST_F(Store, I41_damage_anywhere_is_noticed) {
  for (const Page& page : {text_page(5), random_page(2), same_page(7)}) {
    for (std::size_t at = 0; at < mmu::page_size; at += 13) {
      const std::uint32_t slot = put(page);
      const std::byte bits{std::uint8_t(1u << at % 8)};
      store.damage(slot, at, bits);
      Page into;
      // A bit of a compressed page may happen to mean nothing; then the page is what it was.
      if (const FillResult result = store.load(slot, into); result == FillResult::filled) {
        EXPECT_EQ(into, page) << "bit " << at % 8 << " of byte " << at;
      } else {
        EXPECT_EQ(result, FillResult::failed);
      }
      store.damage(slot, at, bits);
      expect_back(slot, page);
      store.drop(slot);
    }
  }
  EXPECT_GT(store.stats().damaged_pages, 3 * mmu::page_size / 13 * 9 / 10);
}

TEST_F(Store, I41_zeroes_for_a_page_are_noticed) {
  const Page page = random_page(3);
  const std::uint32_t slot = put(page);
  for (std::size_t at = 0; at < mmu::page_size; ++at) store.damage(slot, at, page[at]);
  Page into;
  EXPECT_EQ(store.load(slot, into), FillResult::failed);
  store.drop(slot);
}

TEST(FullStore, has_no_room_beyond_its_limit_until_something_goes) {
  CompressedStore store({.limit = 3 * mmu::page_size});
  std::vector<std::uint32_t> slots;
  for (std::uint64_t i = 0; i < 3; ++i) slots.push_back(store.put(random_page(i)).value());
  EXPECT_FALSE(store.put(random_page(9)));
  EXPECT_TRUE(store.put(same_page(1))) << "needs none";
  EXPECT_EQ(store.stats().full_count, 1u);
  EXPECT_EQ(store.stats().pages, 4u);
  EXPECT_LE(store.stats().bytes, store.stats().limit);
  store.drop(slots.back());
  slots.back() = store.put(random_page(9)).value();
  Page into;
  EXPECT_EQ(store.load(slots.back(), into), FillResult::filled);
  EXPECT_EQ(into, random_page(9));
  for (const std::uint32_t slot : slots) store.drop(slot);
  store.drop(3);
}

TEST_F(Store, slots_are_used_again) {
  std::vector<std::uint32_t> slots;
  for (std::uint64_t i = 0; i < 3000; ++i) slots.push_back(put(same_page(i)));
  std::vector<std::uint32_t> sorted = slots;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end()) << "given to two";
  for (std::uint64_t i = 0; i < 3000; ++i) expect_back(slots[i], same_page(i));
  for (const std::uint32_t slot : slots) store.drop(slot);
  for (std::uint64_t i = 0; i < 3000; ++i) EXPECT_LT(slots[i] = put(same_page(i)), 3 * 1024u);
  for (const std::uint32_t slot : slots) store.drop(slot);
}

TEST_F(Store, without_memory_nothing_is_put_and_nothing_is_lost) {
  // On a thread of its own: contexts are made once for each.
  std::thread([&] {
    unsigned failures = 0;
    for (unsigned n = 1; n < 100; ++n) {
      mmu::fail_allocation(n);
      const auto slot = store.put(text_page(n));
      const bool failed = mmu::fail_allocation(0) == 0;
      if (slot) {
        Page into;
        mmu::fail_allocation(1);
        if (const FillResult result = store.load(*slot, into); result == FillResult::filled)
          EXPECT_EQ(into, text_page(n));
        else
          EXPECT_EQ(result, FillResult::no_memory);
        mmu::fail_allocation(0);
        expect_back(*slot, text_page(n));
        store.drop(*slot);
      }
      failures += failed ? 1 : 0;
      if (!failed) break;
    }
    EXPECT_GT(failures, 1u);
  }).join();
  EXPECT_EQ(store.stats().pages, 0u);
}

TEST(StoreThreads, put_load_and_drop_at_once) {
  CompressedStore store({.limit = 200 * mmu::page_size});
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&store, t] {
      std::mt19937_64 random(t);
      std::vector<std::pair<std::uint32_t, std::uint64_t>> mine;
      const auto page_of = [](std::uint64_t n) {
        return n % 3 == 0 ? random_page(n) : n % 3 == 1 ? text_page(n) : same_page(n);
      };
      for (unsigned round = 0; round < 3000; ++round) {
        if (mine.empty() || random() % 2 == 0) {
          const std::uint64_t content = random();
          if (const auto slot = store.put(page_of(content))) mine.emplace_back(*slot, content);
          continue;
        }
        const std::size_t which = random() % mine.size();
        Page into;
        ASSERT_EQ(store.load(mine[which].first, into), FillResult::filled);
        ASSERT_EQ(into, page_of(mine[which].second));
        store.drop(mine[which].first);
        mine[which] = mine.back();
        mine.pop_back();
      }
      for (const auto& [slot, content] : mine) store.drop(slot);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store.stats().pages, 0u);
  EXPECT_EQ(store.stats().bytes, 0u);
  EXPECT_EQ(store.stats().damaged_pages, 0u);
}

using StoreDeathTest = Store;

TEST_F(StoreDeathTest, slot_that_is_nobody_s_is_not_dropped) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::uint32_t slot = put(same_page(1));
  store.drop(slot);
  EXPECT_DEATH(store.drop(slot), "dropped twice");
}

} // namespace
} // namespace slat::vmm
