// RangeTree: readers against the writer, and what checked builds refuse.
#include "mmu/range_tree.hpp"
#include "mmu/rcu.hpp"
#include "support.hpp"

#include <random>

namespace slat::mmu {
namespace {

using testing::eventually;

struct Item {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  std::size_t layout = 0;
};

using Tree = RangeTree<Item>;
using Entries = std::vector<Tree::Entry>;

void replace(Tree& tree, std::uintptr_t start, std::uintptr_t end, const Entries& entries) {
  auto edit = tree.edit();
  const auto done = edit.replace(start, end, entries);
  ASSERT_TRUE(done) << testing::why(done);
  edit.commit();
}

TEST(RangeTree, I11_reader_under_RCU_sees_the_tree_before_a_commit_or_after_it) {
  // A thousand pages are covered at all times: by 1, 3, 40 or 1000 ranges.
  constexpr std::uintptr_t pages = 1000;
  std::vector<std::vector<Item>> layouts(4);
  std::vector<Entries> entries(4);
  for (std::size_t layout = 0; layout < 4; ++layout) {
    const std::uintptr_t ranges[] = {1, 3, 40, pages};
    const std::uintptr_t length = (pages + ranges[layout] - 1) / ranges[layout];
    for (std::uintptr_t at = 0; at < pages; at += length)
      layouts[layout].push_back({at, std::min(at + length, pages), layout});
    for (Item& item : layouts[layout]) entries[layout].push_back({item.start, item.end, &item});
  }
  Tree tree;
  replace(tree, 0, pages, entries[0]);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> walks{0};
  std::vector<std::thread> readers;
  for (std::uintptr_t t = 0; t < 2; ++t)
    readers.emplace_back([&, t] {
      for (std::uintptr_t page = t; !stop; page = (page + 37) % pages) {
        const rcu::ReadGuard section;
        const Item* const item = tree.find(page);
        ASSERT_NE(item, nullptr) << "page " << page;
        EXPECT_TRUE(item->start <= page && page < item->end) << "page " << page;
        const auto first = tree.first_from(page);
        ASSERT_NE(first.value, nullptr);
        EXPECT_TRUE(first.start == first.value->start && first.start <= page);
        std::size_t count = 0; // of one version, from one end to the other
        std::size_t layout = 0;
        std::uintptr_t end = 0;
        tree.for_each(0, pages, [&](const Tree::Entry& entry) {
          EXPECT_EQ(entry.start, end);
          end = entry.end;
          if (count++ == 0) layout = entry.value->layout;
          EXPECT_EQ(entry.value->layout, layout) << "two versions at once";
        });
        EXPECT_EQ(end, pages);
        EXPECT_EQ(count, layouts[layout].size());
        ++walks;
      }
    });
  ASSERT_TRUE(eventually([&] { return walks.load() > 0; }));
  std::mt19937 random(1);
  for (std::size_t step = 1; step < 3000; ++step) {
    const Entries& next = entries[random() % 4];
    if (step % 3 == 0) { // in pieces, of which nobody sees one
      auto edit = tree.edit();
      ASSERT_TRUE(edit.replace(0, pages, {}));
      for (const auto& entry : next) ASSERT_TRUE(edit.replace(entry.start, entry.end, {&entry, 1}));
      edit.commit();
    } else {
      replace(tree, 0, pages, next);
    }
  }
  ASSERT_TRUE(eventually([&] { return walks.load() > 20; }));
  stop = true;
  for (std::thread& reader : readers) reader.join();
  ASSERT_EQ(tree.base().check(), "");
}

TEST(RangeTree, I11_what_one_edit_does_far_apart_is_seen_together) {
  // Two values change places, at both ends of a tree of three levels. Either replacement alone would be
  // a graft: one store each.
  std::vector<Item> items(500);
  Entries entries;
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i] = {i * 10, i * 10 + 5, 0};
    entries.push_back({items[i].start, items[i].end, &items[i]});
  }
  Item one;
  Item other;
  Tree::Entry& first = entries[3];
  Tree::Entry& last = entries[490];
  first.value = &one;
  last.value = &other;
  Tree tree;
  replace(tree, 0, 0, entries);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> swapped{0};
  std::thread reader([&] {
    while (!stop) {
      const rcu::ReadGuard section;
      std::vector<const Item*> seen;
      tree.for_each(0, UINTPTR_MAX, [&](const Tree::Entry& entry) {
        if (entry.start == first.start || entry.start == last.start) seen.push_back(entry.value);
      });
      ASSERT_EQ(seen.size(), 2u);
      EXPECT_NE(seen[0], seen[1]) << "half of an edit";
      if (seen[0] == &other) ++swapped;
    }
  });
  for (std::uint64_t step = 0; step < 20'000 || swapped < 100; ++step) {
    std::swap(first.value, last.value);
    auto edit = tree.edit();
    ASSERT_TRUE(edit.replace(first.start, first.end, {&first, 1}));
    ASSERT_TRUE(edit.replace(last.start, last.end, {&last, 1}));
    edit.commit();
    if (::testing::Test::HasFailure()) break;
  }
  stop = true;
  reader.join();
  ASSERT_EQ(tree.base().check(), "");
}

TEST(RangeTree, readers_survive_that_the_tree_is_cleared) {
  std::vector<Item> items(500);
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = {i * 10, i * 10 + 5, 0};
  Tree tree;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> hits{0};
  std::vector<std::thread> readers;
  for (std::size_t t = 0; t < 2; ++t)
    readers.emplace_back([&, t] {
      for (std::size_t i = t; !stop; i = (i + 7) % items.size()) {
        const rcu::ReadGuard section;
        const Item* const item = tree.find(items[i].start);
        EXPECT_TRUE(item == nullptr || item == &items[i]);
        const auto last = tree.last_before(items[i].end);
        EXPECT_TRUE(last.value == nullptr || last.start <= items[i].start);
        if (item != nullptr) ++hits;
      }
    });
  for (int round = 0; round < 30 || hits < 100; ++round) {
    for (Item& item : items) replace(tree, item.start, item.end, {{item.start, item.end, &item}});
    tree.clear();
    if (::testing::Test::HasFailure()) break;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  rcu::barrier();
}

class RangeTreeDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::checked_build) GTEST_SKIP() << "asserted in checked builds only";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    replace(tree, 0, 0, {{10, 20, &item}, {30, 40, &item}});
  }

  Tree tree;
  Item item;
};

TEST_F(RangeTreeDeathTest, ranges_that_overlap_are_refused) {
  auto edit = tree.edit();
  EXPECT_DEATH((void)edit.replace(0, 0, Entries{{1, 5, &item}, {4, 6, &item}}), "overlap");
  EXPECT_DEATH((void)edit.replace(10, 20, Entries{{10, 31, &item}}), "overlap");
  EXPECT_DEATH((void)edit.replace(20, 30, Entries{{19, 25, &item}}), "overlap");
  EXPECT_DEATH((void)edit.replace(10, 20, Entries{{50, 60, &item}}), "out of order");
  EXPECT_DEATH((void)edit.replace(0, 5, Entries{{3, 3, &item}}), "no length");
  EXPECT_DEATH((void)edit.replace(0, 5, Entries{{3, 4, nullptr}}), "no value");
}

TEST_F(RangeTreeDeathTest, I10_second_writer_is_refused) {
  auto edit = tree.edit();
  EXPECT_DEATH((void)tree.edit(), "second edit");
  EXPECT_DEATH(tree.clear(), "under an edit");
}

} // namespace
} // namespace slat::mmu
