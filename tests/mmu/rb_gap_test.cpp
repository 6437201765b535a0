// The search for free room in the speculative tree: what it finds, what it costs, and the extents that
// it goes by, after every edit.
#include "mmu/vma_lock/rb_gap.hpp"

#include "mmu/vma_lock/vma_rb_tree.hpp"
#include "rb_tree_check.hpp"

#include <map>
#include <random>

namespace slat::mmu {
namespace {

using testing::expect_sound;

struct RbGapItem {
  RbNode rb;
};

using RbGapTree = VmaRbTree<RbGapItem>;
using RbGapEntry = RbGapTree::Entry;

class RbGapTest : public ::testing::Test {
 protected:
  void replace(std::uintptr_t start, std::uintptr_t end, std::vector<RbGapEntry> entries) {
    for (auto at = model.begin(); at != model.end();)
      at = at->second.start < end && start < at->second.end ? model.erase(at) : std::next(at);
    for (const RbGapEntry& entry : entries) model[entry.start] = entry;
    auto edit = tree.edit();
    ASSERT_TRUE(edit.replace(start, end, entries));
    edit.commit();
    expect_sound(tree.nodes());
  }

  /// From range to range that is in the way.
  [[nodiscard]] std::optional<std::uintptr_t> linear_search(std::uintptr_t low, std::uintptr_t high,
                                                            std::size_t length,
                                                            std::size_t alignment) const {
    const auto round_up = [&](std::uintptr_t at) {
      return (at + alignment - 1) / alignment * alignment;
    };
    std::uintptr_t from = low;
    auto range = model.begin();
    for (;;) {
      const std::uintptr_t at = round_up(from);
      if (at < from || at >= high || high - at < length) return {};
      while (range != model.end() && range->second.end <= at) ++range;
      if (range == model.end() || range->second.start >= at + length) return at;
      from = range->second.end;
    }
  }

  RbGapTree tree;
  std::map<std::uintptr_t, RbGapEntry> model; // by start
  std::vector<RbGapItem> items = std::vector<RbGapItem>(300);
};

TEST_F(RbGapTest, gap_is_cut_by_low_and_high_and_begins_at_a_multiple) {
  replace(0, 0,
          {{10, 20, &items[0]}, {27, 40, &items[1]}, {40, 50, &items[2]}, {60, 70, &items[3]}});
  EXPECT_EQ(tree.find_gap(0, 100, 10, 1), 0u) << "before the first";
  EXPECT_EQ(tree.find_gap(0, 100, 11, 1), 70u) << "after the last";
  EXPECT_EQ(tree.find_gap(1, 100, 10, 1), 50u);
  EXPECT_EQ(tree.find_gap(1, 100, 7, 1), 1u);
  EXPECT_EQ(tree.find_gap(4, 100, 7, 1), 20u) << "just fits";
  EXPECT_EQ(tree.find_gap(4, 100, 7, 2), 20u);
  EXPECT_EQ(tree.find_gap(4, 100, 7, 4), 20u);
  EXPECT_EQ(tree.find_gap(4, 100, 7, 8), 72u) << "24 is too late, and so is 56";
  EXPECT_EQ(tree.find_gap(4, 78, 7, 8), std::nullopt);
  EXPECT_EQ(tree.find_gap(4, 79, 7, 8), 72u);
  EXPECT_EQ(tree.find_gap(21, 100, 7, 1), 50u) << "low is inside the gap";
  EXPECT_EQ(tree.find_gap(30, 100, 7, 1), 50u) << "low is inside a range";
  EXPECT_EQ(tree.find_gap(4, 26, 7, 1), std::nullopt) << "high is inside the gap";
  EXPECT_EQ(tree.find_gap(4, 27, 7, 1), 20u);
  EXPECT_EQ(tree.find_gap(30, 45, 1, 1), std::nullopt) << "no byte between neighbours";
  EXPECT_EQ(tree.find_gap(55, 55, 1, 1), std::nullopt);
  EXPECT_EQ(tree.find_gap(56, 55, 1, 1), std::nullopt);
  EXPECT_EQ(tree.find_gap(0, UINTPTR_MAX, UINTPTR_MAX - 70, 1), 70u);
  EXPECT_EQ(tree.find_gap(0, UINTPTR_MAX, UINTPTR_MAX - 69, 1), std::nullopt);
}

/// Bounds that move past their neighbours' old ones, in the order of the entries and against it: the
/// tree sets one after the other, and what it takes for gaps meanwhile is nonsense.
TEST_F(RbGapTest, extents_are_right_after_bounds_that_overlapped_on_the_way) {
  std::vector<RbGapEntry> packed;
  for (std::uintptr_t i = 0; i < 40; ++i)
    packed.push_back({1000 + i * 10, 1010 + i * 10, &items[i]});
  replace(0, 0, packed);
  for (const std::uintptr_t to : {std::uintptr_t(2000), std::uintptr_t(0), UINTPTR_MAX - 4000}) {
    std::vector<RbGapEntry> moved;
    for (std::uintptr_t i = 0; i < 40; ++i)
      moved.push_back({to + i * i, to + (i + 1) * (i + 1) - (i == 30 ? 5 : 0), &items[i]});
    replace(0, UINTPTR_MAX, moved);
    EXPECT_EQ(tree.find_gap(to, to + 1600, 5, 1), to + 31 * 31 - 5);
    EXPECT_EQ(tree.find_gap(to, to + 1600, 6, 1), std::nullopt);
  }
}

TEST_F(RbGapTest, random_edits_leave_the_gaps_that_a_linear_search_finds) {
  constexpr std::uintptr_t space = 4000;
  for (unsigned seed = 1; seed <= 12 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto below = [&](std::uintptr_t n) { return random() % n; };
    const std::uintptr_t base = seed % 3 == 0 ? UINTPTR_MAX - space : seed % 3 == 1 ? 0 : 1'000'000;
    replace(0, UINTPTR_MAX, {});
    std::vector<RbGapItem*> unused;
    for (RbGapItem& item : items) unused.push_back(&item);
    const auto take = [&] {
      RbGapItem* const item = unused.back();
      unused.pop_back();
      return item;
    };
    // Close together, with a hole here and there: most subtrees have no room.
    std::vector<RbGapEntry> entries;
    for (std::uintptr_t at = below(8); entries.size() < 250;) {
      const std::uintptr_t end = at + 1 + below(20);
      if (end > space) break;
      entries.push_back({base + at, base + end, take()});
      at = end + (below(8) == 0 ? below(60) : 0);
    }
    replace(0, 0, entries);
    for (int round = 0; round < 400 && !HasFailure(); ++round) {
      // One or two neighbours and the room that they have.
      auto at = std::next(model.begin(), std::ptrdiff_t(below(model.size())));
      const std::uintptr_t low = at == model.begin() ? base : std::prev(at)->second.end;
      const RbGapEntry one = at->second;
      RbGapEntry other{};
      if (++at != model.end() && below(2) == 0) other = at++->second;
      const std::uintptr_t high = at == model.end() ? base + space : at->second.start;
      const std::uintptr_t end = other.value != nullptr ? other.end : one.end;
      std::vector<RbGapItem*> values;
      for (RbGapItem* const value : {one.value, other.value}) {
        if (value == nullptr) continue;
        (below(4) == 0 && model.size() > 100 ? unused : values).push_back(value);
      }
      if (below(3) == 0 && !unused.empty())
        values.insert(values.begin() + std::ptrdiff_t(below(values.size() + 1)), take());
      entries.clear();
      std::uintptr_t from = below(2) == 0 ? low : low + below((high - low) / 2 + 1);
      for (RbGapItem* const value : values) {
        if (from == high) { // no room left
          unused.push_back(value);
          continue;
        }
        const std::uintptr_t to = from + 1 + below(high - from);
        entries.push_back({from, to, value});
        from = below(2) == 0 ? to : to + below(high - to + 1);
      }
      replace(one.start, end, entries);
      for (int query = 0; query < 8; ++query) {
        const std::uintptr_t a = base + (query == 0 ? 0 : below(space));
        const std::uintptr_t b = base + (query < 4 ? space : below(space + 1));
        const std::size_t length = 1 + below(below(2) == 0 ? 60 : 6);
        const std::size_t alignment = std::size_t(1) << below(7);
        ASSERT_EQ(tree.find_gap(a, b, length, alignment), linear_search(a, b, length, alignment))
            << a << " to " << b << ", " << length << " by " << alignment;
      }
    }
  }
}

/// Counts what is read of links and bounds.
struct RbGapCountedAtomics : StdAtomics {
  inline static unsigned loads = 0;

  template <class T> class atomic : public std::atomic<T> {
   public:
    using std::atomic<T>::atomic;

    T load(std::memory_order order) const {
      ++loads;
      return std::atomic<T>::load(order);
    }
  };
};

TEST(RbGap, search_passes_subtrees_without_room) {
  using Counted = RbGapCountedAtomics;
  constexpr std::size_t ranges = 4096;
  std::vector<RbNodeOf<Counted>> nodes(ranges);
  RbTreeOf<Counted> tree;
  for (std::size_t i = 0; i < ranges; ++i) { // 6 bytes after each, and 8 after one
    tree.set_bounds(&nodes[i], i * 16 + (i > 3000 ? 2 : 0), i * 16 + 10 + (i > 3000 ? 2 : 0));
    tree.insert(&nodes[i]);
  }
  expect_sound(tree);
  constexpr std::uintptr_t all = ranges * 16;
  // A tree of 4096 is at most 24 high; a node costs a few loads.
  constexpr unsigned few = 24 * 4;
  const auto loads_of = [&](std::uintptr_t low, std::uintptr_t high, std::size_t length,
                            std::optional<std::uintptr_t> expected) {
    Counted::loads = 0;
    EXPECT_EQ(RbGapSearchOf<Counted>(low, high, length, 1).run(tree), expected);
    return Counted::loads;
  };
  EXPECT_LE(loads_of(0, all, 8, 3000 * 16 + 10), few);
  EXPECT_LE(loads_of(0, 2 * all, 9, all - 4), few) << "none but after the last";
  EXPECT_LE(loads_of(0, all, 9, std::nullopt), few);
  EXPECT_LE(loads_of(0, all, 6, 10), few) << "the first of many";
  EXPECT_LE(loads_of(2000 * 16, all, 6, 2000 * 16 + 10), few) << "the first of many from low on";
  EXPECT_LE(loads_of(3001 * 16 + 5, all, 8, std::nullopt), few) << "low is past the one that fits";
  EXPECT_LE(loads_of(0, 3000 * 16, 8, std::nullopt), few) << "high comes before it";
  EXPECT_LE(loads_of(2000 * 16 + 11, 2001 * 16 + 15, 6, std::nullopt), few) << "many after high";
}

} // namespace
} // namespace slat::mmu
