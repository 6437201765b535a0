#include "mmu/range_tree.hpp"

#include "mmu/alloc.hpp"
#include "mmu/rcu.hpp"
#include "support.hpp"

#include <algorithm>
#include <map>
#include <random>

namespace slat::mmu {
namespace {

constexpr std::uintptr_t top = UINTPTR_MAX;

struct Item {
  unsigned id = 0;
};

using Tree = RangeTree<Item>;
using Entry = Tree::Entry;
using Entries = std::vector<Entry>;

bool same(const Entry& a, const Entry& b) {
  return a.start == b.start && a.end == b.end && a.value == b.value;
}

Entries content(const Tree& tree, std::uintptr_t start = 0, std::uintptr_t end = top) {
  Entries all;
  tree.for_each(start, end, [&](const Entry& entry) { all.push_back(entry); });
  return all;
}

void replace(Tree& tree, std::uintptr_t start, std::uintptr_t end, const Entries& entries) {
  auto edit = tree.edit();
  const auto done = edit.replace(start, end, entries);
  ASSERT_TRUE(done) << testing::why(done);
  edit.commit();
}

void set(Tree& tree, const Entry& entry) {
  replace(tree, entry.start, entry.end, {entry});
}

/// Nodes in this process, once those that wait for a grace period are freed; 0 if not counted.
std::size_t live_nodes() {
  rcu::barrier();
  return detail::RangeTreeBase::live_nodes();
}

/// The tree's twin, with every operation done the simplest way.
struct Model {
  std::map<std::uintptr_t, Entry> entries; // by start

  [[nodiscard]] Entries overlapping(std::uintptr_t start, std::uintptr_t end) const {
    Entries found;
    for (const auto& [key, entry] : entries)
      if (start < end && entry.start < end && start < entry.end) found.push_back(entry);
    return found;
  }

  void replace(std::uintptr_t start, std::uintptr_t end, const Entries& fresh) {
    for (const Entry& entry : overlapping(start, end)) entries.erase(entry.start);
    for (const Entry& entry : fresh) entries[entry.start] = entry;
  }

  /// Between which addresses a replacement of [start, end) may put entries.
  [[nodiscard]] std::pair<std::uintptr_t, std::uintptr_t> room(std::uintptr_t start,
                                                               std::uintptr_t end) const {
    std::pair<std::uintptr_t, std::uintptr_t> room{0, top};
    for (const auto& [key, entry] : entries) {
      if (entry.end <= start) room.first = entry.end;
      if (entry.end > start && (entry.start >= end || start == end)) {
        room.second = entry.start;
        break;
      }
    }
    return room;
  }
};

void expect_equal(const Tree& tree, const Model& model) {
  ASSERT_EQ(tree.base().check(), "");
  ASSERT_EQ(tree.size(), model.entries.size());
  const Entries all = content(tree);
  ASSERT_EQ(all.size(), model.entries.size());
  std::size_t i = 0;
  for (const auto& [key, entry] : model.entries) ASSERT_TRUE(same(all[i++], entry));
}

void expect_lookups_agree(const Tree& tree, const Model& model, std::uintptr_t at) {
  Item* found = nullptr;
  Entry first{};
  Entry last{};
  for (const auto& [key, entry] : model.entries) {
    if (entry.start <= at && at < entry.end) found = entry.value;
    if (entry.end > at && first.value == nullptr) first = entry;
    if (entry.start < at) last = entry;
  }
  ASSERT_EQ(tree.find(at), found) << at;
  ASSERT_TRUE(same(tree.first_from(at), first)) << at;
  ASSERT_TRUE(same(tree.last_before(at), last)) << at;
}

TEST(RangeTree, empty_tree_finds_nothing) {
  const Tree tree;
  for (const std::uintptr_t at : {std::uintptr_t(0), std::uintptr_t(4096), top}) {
    EXPECT_EQ(tree.find(at), nullptr);
    EXPECT_EQ(tree.first_from(at).value, nullptr);
    EXPECT_EQ(tree.last_before(at).value, nullptr);
  }
  EXPECT_TRUE(content(tree).empty());
  EXPECT_EQ(tree.size(), 0u);
  EXPECT_EQ(tree.base().check(), "");
}

TEST(RangeTree, start_belongs_to_a_range_and_end_does_not) {
  Tree tree;
  Item a;
  Item b;
  replace(tree, 0, top, {{10, 20, &a}, {20, 21, &b}});
  EXPECT_EQ(tree.find(9), nullptr);
  EXPECT_EQ(tree.find(10), &a);
  EXPECT_EQ(tree.find(19), &a);
  EXPECT_EQ(tree.find(20), &b);
  EXPECT_EQ(tree.find(21), nullptr);
  EXPECT_EQ(content(tree, 20, 30).size(), 1u);
  EXPECT_EQ(content(tree, 0, 10).size(), 0u);
  EXPECT_EQ(content(tree, 19, 21).size(), 2u);
  EXPECT_EQ(content(tree, 15, 15).size(), 0u) << "an empty range overlaps nothing";
}

TEST(RangeTree, reaches_both_ends_of_the_address_space) {
  Item item;
  Tree whole;
  set(whole, {0, top, &item});
  EXPECT_EQ(whole.find(0), &item);
  EXPECT_EQ(whole.find(top - 1), &item);
  EXPECT_EQ(whole.find(top), nullptr);
  EXPECT_EQ(whole.find_gap(0, top, 1, 1), std::nullopt);
  for (const std::uintptr_t count : {1u, 15u, 16u, 17u, 255u, 256u, 257u, 5000u}) { // full and not
    Tree tree;
    for (std::uintptr_t i = 0; i < count; ++i) {
      set(tree, {2 * i, 2 * i + 1, &item});
      set(tree, {top - 2 * i - 1, top - 2 * i, &item});
    }
    ASSERT_EQ(tree.base().check(), "");
    ASSERT_EQ(tree.size(), 2 * count);
    EXPECT_EQ(tree.find(0), &item);
    EXPECT_EQ(tree.find(top - 1), &item);
    EXPECT_EQ(tree.find(top - 2), nullptr);
    EXPECT_EQ(tree.find(top), nullptr);
    EXPECT_EQ(tree.first_from(top).value, nullptr);
    EXPECT_EQ(tree.first_from(top - 1).start, top - 1);
    EXPECT_EQ(tree.last_before(top).start, top - 1);
    EXPECT_EQ(tree.last_before(0).value, nullptr);
    EXPECT_EQ(tree.find_gap(top - 2, top, 1, 1), top - 2);
    replace(tree, 0, top, {});
    EXPECT_EQ(tree.size(), 0u);
    EXPECT_EQ(tree.base().shape().levels, 0u);
  }
}

TEST(RangeTree, agrees_with_a_map_under_random_edits) {
  std::vector<Item> items(64);
  const std::size_t live_before = live_nodes();
  for (std::uint32_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto below = [&](std::uintptr_t n) { return std::uintptr_t(random()) % n; };
    const std::uintptr_t space = seed % 3 == 0 ? 300 : seed % 3 == 1 ? 5000 : 100'000;
    Tree tree;
    Model model;
    for (int step = 0; step < 400; ++step) {
      SCOPED_TRACE(::testing::Message() << "step " << step);
      Model changed = model;
      const bool dropped = below(10) == 0;
      {
        auto edit = tree.edit();
        for (std::uintptr_t calls = 1 + below(3); calls > 0; --calls) {
          const std::uintptr_t most = below(8) == 0 ? space : 40; // most replacements are small
          const std::uintptr_t start = below(space);
          const std::uintptr_t end = start + (below(4) == 0 ? 0 : below(most));
          const auto [low, high] = changed.room(start, end);
          Entries fresh;
          // Bursts of up to 300, or one, or none; within the removed range or all the room.
          std::uintptr_t at = below(2) == 0 ? std::max(low, start) : low;
          for (std::uintptr_t n = below(3) == 0 ? 0 : below(8) == 0 ? below(300) : 1; n > 0; --n) {
            at += below(4);
            const std::uintptr_t size = 1 + below(below(3) == 0 ? 30 : 3);
            if (at + size > std::min(high, 2 * space)) break;
            fresh.push_back({at, at + size, &items[below(items.size())]});
            at += size;
          }
          changed.replace(start, end, fresh);
          const auto done = edit.replace(start, end, fresh);
          ASSERT_TRUE(done) << testing::why(done);
        }
        if (!dropped) edit.commit();
      }
      if (!dropped) model = std::move(changed);
      if (below(150) == 0) {
        tree.clear();
        model.entries.clear();
      }
      ASSERT_NO_FATAL_FAILURE(expect_equal(tree, model));
      for (int i = 0; i < 5; ++i)
        ASSERT_NO_FATAL_FAILURE(expect_lookups_agree(tree, model, below(space + 20)));
      const std::uintptr_t a = below(space);
      const std::uintptr_t b = a + below(200);
      const Entries got = content(tree, a, b);
      const Entries expected = model.overlapping(a, b);
      ASSERT_TRUE(std::equal(got.begin(), got.end(), expected.begin(), expected.end(), same));
    }
    tree.clear();
    ASSERT_EQ(live_nodes(), live_before) << "nodes are lost";
  }
}

TEST(RangeTree, grows_and_shrinks_through_all_heights_in_every_order) {
  Item item;
  constexpr std::size_t count = 3000;
  std::vector<std::size_t> ascending(count);
  for (std::size_t i = 0; i < count; ++i) ascending[i] = i;
  const std::vector<std::size_t> descending(ascending.rbegin(), ascending.rend());
  std::vector<std::size_t> shuffled = ascending;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(7));
  const std::vector<std::size_t>* const orders[] = {&ascending, &descending, &shuffled};
  for (const auto* const in_order : orders)
    for (const auto* const out_order : orders) {
      const auto& in = *in_order;
      const auto& out = *out_order;
      Tree tree;
      for (std::size_t n = 0; n < count; ++n) {
        set(tree, {in[n] * 10, in[n] * 10 + 5, &item});
        if (n % 7 == 0) ASSERT_EQ(tree.base().check(), "") << n;
      }
      EXPECT_EQ(tree.base().check(), "");
      const auto shape = tree.base().shape();
      EXPECT_GE(shape.levels, 3u);
      EXPECT_LE(shape.levels, 4u);
      EXPECT_GE(double(count) / double(shape.leaves), in_order == &shuffled ? 10.0 : 12.5);
      for (std::size_t n = 0; n < count; ++n) {
        ASSERT_EQ(tree.find(out[n] * 10), &item);
        replace(tree, out[n] * 10 + 1, out[n] * 10 + 2, {});
        ASSERT_EQ(tree.find(out[n] * 10), nullptr);
        if (n % 7 == 0) ASSERT_EQ(tree.base().check(), "") << n;
      }
      EXPECT_EQ(tree.size(), 0u);
      EXPECT_EQ(tree.base().shape().levels, 0u);
    }
}

/// A tree of ranges with gaps, in which a stretch is replaced and put back.
class RangeTreeStretch : public ::testing::Test {
 protected:
  /// Full leaves and full inner nodes, but for the last.
  void build(std::uintptr_t count) {
    original.clear();
    for (std::uintptr_t i = 0; i < count; ++i)
      original.push_back({i * 100, i * 100 + 50, &items[0]});
    replace(tree, 0, top, original);
  }

  /// Entries [from, to) make way for `fresh` others, which then make way for them.
  void replace_and_restore(std::uintptr_t from, std::uintptr_t to, std::uintptr_t fresh) {
    SCOPED_TRACE(::testing::Message() << from << " to " << to << ", " << fresh << " instead");
    const std::uintptr_t free = from == 0 ? 0 : from * 100 - 50;
    const std::uintptr_t room = to == original.size() ? 1'000'000 : to * 100 - free;
    if (fresh > room) return;
    const std::uintptr_t length = room / std::max<std::uintptr_t>(fresh, 1);
    Entries entries;
    for (std::uintptr_t i = 0; i < fresh; ++i)
      entries.push_back({free + i * length, free + (i + 1) * length, &items[1]});
    replace(tree, from * 100, to * 100, entries);
    ASSERT_EQ(tree.base().check(), "");
    ASSERT_EQ(tree.size(), original.size() - (to - from) + fresh);
    const std::uintptr_t last = std::max(to * 100, entries.empty() ? 0 : entries.back().end);
    replace(tree, free, last, {original.begin() + long(from), original.begin() + long(to)});
    ASSERT_EQ(tree.base().check(), "");
    const Entries all = content(tree);
    ASSERT_TRUE(std::equal(all.begin(), all.end(), original.begin(), original.end(), same));
  }

  Item items[2];
  Tree tree;
  Entries original;
};

TEST_F(RangeTreeStretch, is_replaced_by_any_number_of_entries) {
  build(400);
  for (std::uintptr_t from = 0; from < 400; from += 9)
    for (std::uintptr_t to = from; to <= 400; to += 13)
      for (const std::uintptr_t fresh : {0u, 1u, 3u, 17u, 100u})
        ASSERT_NO_FATAL_FAILURE(replace_and_restore(from, to, fresh)); // never the same shape again
}

TEST_F(RangeTreeStretch, leaves_too_little_for_a_node_beside_every_border) {
  // What is left of two leaves is too little for one: neighbours are drawn in, from other parents
  // and grandparents too, on the left or, from the first leaf, on the right.
  const auto live_before = live_nodes();
  constexpr std::uintptr_t count = 16 * 16 * 17; // 272 leaves, 17 parents, 9 + 8 of them in two
  for (const std::uintptr_t leaf :
       {1u, 2u, 8u, 15u, 16u, 17u, 32u, 128u, 143u, 144u, 145u, 240u, 255u, 256u, 257u, 271u})
    for (const std::uintptr_t kept : {0u, 1u, 3u}) {
      const std::uintptr_t border = leaf * 16;
      build(count);
      ASSERT_NO_FATAL_FAILURE(replace_and_restore(1, border - kept, 0));
      build(count);
      ASSERT_NO_FATAL_FAILURE(replace_and_restore(border + kept, count - 1, 0));
      build(count);
      ASSERT_NO_FATAL_FAILURE(replace_and_restore(border - 15, border + 16 - kept, 1));
      build(count);
      ASSERT_NO_FATAL_FAILURE(replace_and_restore(border, std::min(border + 256, count) - kept, 0));
    }
  tree.clear();
  EXPECT_EQ(live_nodes(), live_before) << "nodes are lost";
}

TEST(RangeTree, later_replacements_of_an_edit_see_earlier_ones) {
  Tree tree;
  Item a;
  Item b;
  set(tree, {100, 200, &a});
  {
    auto edit = tree.edit();
    ASSERT_TRUE(edit.replace(100, 200, Entries{{100, 150, &a}, {150, 200, &b}}));
    ASSERT_TRUE(edit.replace(150, 151, {}));
    for (std::uintptr_t i = 0; i < 80; ++i)
      ASSERT_TRUE(edit.replace(200, 200, Entries{{1000 - 10 * i, 1005 - 10 * i, &b}})) << i;
    ASSERT_TRUE(edit.replace(900, 2000, {}));
    EXPECT_EQ(tree.size(), 1u) << "nobody sees it before the commit";
    EXPECT_EQ(tree.find(160), &a);
    auto moved = std::move(edit);
    moved.commit();
  }
  EXPECT_EQ(tree.base().check(), "");
  EXPECT_EQ(tree.find(149), &a);
  EXPECT_EQ(tree.find(150), nullptr);
  EXPECT_EQ(tree.size(), 1u + 69u);
}

TEST(RangeTree, replacement_that_looks_the_same_from_above_makes_one_node) {
  if (!testing::checked_build) GTEST_SKIP() << "nodes are counted in checked builds only";
  Item item;
  Item other;
  Tree tree;
  Entries entries;
  for (std::uintptr_t i = 0; i < 2000; ++i) entries.push_back({i * 10, i * 10 + 5, &item});
  replace(tree, 0, 0, entries);
  ASSERT_GE(tree.base().shape().levels, 3u);
  std::size_t before = live_nodes();
  set(tree, {10'000, 10'005, &other});
  EXPECT_EQ(detail::RangeTreeBase::live_nodes() - before, 1u); // the old one waits with others
  before = detail::RangeTreeBase::live_nodes();
  replace(tree, 10'000, 10'001, {{10'001, 10'003, &item}}); // a longer gap, nowhere known before
  EXPECT_EQ(detail::RangeTreeBase::live_nodes() - before, tree.base().shape().levels);
  EXPECT_EQ(tree.find(10'001), &item);
  EXPECT_EQ(tree.find(10'000), nullptr);
  EXPECT_EQ(tree.base().check(), "");
}

TEST(RangeTree, memory_that_runs_out_anywhere_changes_nothing) {
  Item item;
  Item other;
  Entries original;
  for (std::uintptr_t i = 0; i < 600; ++i) original.push_back({i * 10, i * 10 + 5, &item});
  const std::size_t live_before = live_nodes();
  {
    Tree tree;
    replace(tree, 0, 0, original);
    const std::size_t live = live_nodes();
    Entries many;
    for (std::uintptr_t i = 0; i < 300; ++i) many.push_back({i * 10 + 5, i * 10 + 6, &other});
    const std::pair<std::pair<std::uintptr_t, std::uintptr_t>, Entries> changes[] = {
        {{3005, 3005}, {{3005, 3006, &other}}}, // insert
        {{3000, 3001}, {}},                     // remove
        {{200, 5500}, {}},                      // remove nodes, merge
        {{0, 3000}, many},                      // rebuild half the tree
        {{0, top}, {{1, 2, &other}}}};          // collapse
    for (const auto& [range, entries] : changes) {
      unsigned n = 1;
      for (;; ++n) {
        ASSERT_LT(n, 1000u);
        auto edit = tree.edit();
        // The second replacement works on the nodes of the first.
        ASSERT_TRUE(edit.replace(4001, 4002, Entries{{4000, 4009, &other}}));
        fail_allocation(n);
        const auto done = edit.replace(range.first, range.second, entries);
        fail_allocation(0);
        if (done) break;
        EXPECT_EQ(done.error().code, Errc::no_memory);
        ASSERT_EQ(tree.base().check(), "");
      }
      EXPECT_GT(n, 1u);
      EXPECT_EQ(live_nodes(), live) << "an edit leaks when it is dropped";
      const Entries all = content(tree);
      ASSERT_TRUE(std::equal(all.begin(), all.end(), original.begin(), original.end(), same));
    }
  }
  EXPECT_EQ(live_nodes(), live_before);
}

TEST(RangeTree, memory_goes_back_after_a_burst) {
  Item item;
  const std::size_t live_before = live_nodes();
  Tree tree;
  for (std::uintptr_t i = 0; i < 20'000; ++i)
    set(tree, {i * 7919 % 20'011 * 16, i * 7919 % 20'011 * 16 + 16, &item});
  const auto large = tree.base().shape();
  EXPECT_GE(large.leaves, 20'000u / 16);
  for (std::uintptr_t i = 0; i < 20'011; ++i)
    if (i % 1000 != 0) replace(tree, i * 16, i * 16 + 1, {});
  EXPECT_EQ(tree.base().check(), "");
  EXPECT_LE(tree.base().shape().leaves, 6u); // for 20 entries
  EXPECT_LE(live_nodes(), live_before + 6 + 1 + 64);
  tree.clear();
  EXPECT_EQ(tree.size(), 0u);
  EXPECT_EQ(tree.find(0), nullptr);
  EXPECT_EQ(live_nodes(), live_before);
  tree.clear(); // of an empty one
  set(tree, {1, 2, &item});
  EXPECT_EQ(tree.find(1), &item);
}

TEST(RangeTree, finds_the_lowest_gap_that_fits) {
  Item item;
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto below = [&](std::uintptr_t n) { return std::uintptr_t(random()) % n; };
    const std::uintptr_t base = seed % 4 == 0 ? top - 6000 : seed % 4 == 1 ? 0 : 1'000'000;
    std::vector<bool> used(6000);
    Tree tree;
    std::uintptr_t at = below(50);
    for (const std::uintptr_t gap = 1 + below(20);;) {
      const std::uintptr_t size = 1 + below(20);
      if (at + size > used.size()) break;
      set(tree, {base + at, base + at + size, &item});
      std::fill_n(used.begin() + long(at), size, true);
      at += size + (below(10) == 0 ? below(200) : below(gap));
    }
    for (int query = 0; query < 100; ++query) {
      const std::uintptr_t a = below(used.size());
      const std::uintptr_t b = below(3) == 0 ? used.size() : below(used.size() + 1);
      const std::size_t length = 1 + below(below(2) == 0 ? 150 : 10);
      const std::size_t alignment = std::size_t(1) << below(7);
      std::optional<std::uintptr_t> expected;
      std::size_t free = 0;                  // bytes free before and at i
      for (std::uintptr_t i = b; i-- > a;) { // downwards: the last hit is the lowest
        free = used[i] ? 0 : free + 1;
        if (free >= length && (base + i) % alignment == 0) expected = base + i;
      }
      ASSERT_EQ(tree.find_gap(base + a, base + b, length, alignment), expected)
          << base + a << " to " << base + b << ", " << length << " by " << alignment;
    }
  }
}

} // namespace
} // namespace slat::mmu
