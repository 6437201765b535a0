// The speculative tree: random edits against std::map, the red-black rules after each, allocation
// failure, and walks at every step of every change.
#include "mmu/vma_lock/vma_rb_tree.hpp"

#include "hooked_atomics.hpp"
#include "mmu/srcu.hpp"
#include "rb_tree_check.hpp"
#include "support.hpp"

#include <random>
#include <set>

namespace slat::mmu {
namespace {

using testing::eventually;
using testing::expect_sound;
using testing::HookedAtomics;

struct Item {
  std::uint64_t other = 0; // rb is not at the front
  RbNode rb;
};

using Tree = VmaRbTree<Item>;
using Entry = Tree::Entry;

using Model = std::map<std::uintptr_t, Entry>; // by start

void expect_same(const Tree& tree, const Model& model) {
  expect_sound(tree.nodes());
  ASSERT_EQ(tree.size(), model.size());
  auto expected = model.begin();
  tree.for_each(0, UINTPTR_MAX, [&](const Entry& entry) {
    ASSERT_NE(expected, model.end());
    EXPECT_EQ(entry.start, expected->second.start);
    EXPECT_EQ(entry.end, expected->second.end);
    EXPECT_EQ(entry.value, expected->second.value);
    EXPECT_TRUE(entry.value->rb.is_linked());
    ++expected;
  });
  EXPECT_EQ(expected, model.end());
}

/// As replace() is documented.
void replace_in(Model& model, std::uintptr_t start, std::uintptr_t end,
                std::span<const Entry> entries) {
  std::erase_if(model, [&](const auto& one) {
    const Entry& entry = one.second;
    if (entry.start < end && start < entry.end && start < end) return true;
    return std::any_of(entries.begin(), entries.end(),
                       [&](const Entry& fresh) { return fresh.value == entry.value; });
  });
  for (const Entry& entry : entries) model[entry.start] = entry;
}

class VmaRbTreeTest : public ::testing::Test {
 protected:
  void replace(std::uintptr_t start, std::uintptr_t end, std::vector<Entry> entries) {
    auto edit = tree.edit();
    ASSERT_TRUE(edit.replace(start, end, entries));
    expect_same(tree, model); // nothing yet
    replace_in(model, start, end, entries);
    edit.commit();
    expect_same(tree, model);
  }

  Item items[64];
  Tree tree;
  Model model;
};

TEST_F(VmaRbTreeTest, empty_tree_has_nothing) {
  EXPECT_EQ(tree.find(0), nullptr);
  EXPECT_EQ(tree.first_from(0).value, nullptr);
  EXPECT_EQ(tree.last_before(UINTPTR_MAX).value, nullptr);
  EXPECT_EQ(tree.size(), 0u);
  EXPECT_EQ(tree.find_gap(5, 100, 10, 8), 8u);
  tree.clear();
  replace(0, UINTPTR_MAX, {});
}

TEST_F(VmaRbTreeTest, ranges_reach_from_0_to_the_end) {
  replace(0, 0, {{0, 10, &items[0]}, {UINTPTR_MAX - 10, UINTPTR_MAX, &items[1]}});
  EXPECT_EQ(tree.find(0), &items[0]);
  EXPECT_EQ(tree.find(9), &items[0]);
  EXPECT_EQ(tree.find(10), nullptr);
  EXPECT_EQ(tree.find(UINTPTR_MAX - 1), &items[1]);
  EXPECT_EQ(tree.first_from(10).value, &items[1]);
  EXPECT_EQ(tree.last_before(UINTPTR_MAX - 10).value, &items[0]);
  EXPECT_EQ(tree.find_gap(0, UINTPTR_MAX, 16, 16), 16u);
  EXPECT_FALSE(tree.find_gap(UINTPTR_MAX - 5, UINTPTR_MAX, 1, 4096)) << "rounding up wraps";
}

TEST_F(VmaRbTreeTest, what_is_removed_is_cleared_and_what_is_adjusted_stays) {
  replace(0, 0, {{0, 10, &items[0]}, {10, 20, &items[1]}, {20, 30, &items[2]}});
  replace(0, 30, {{0, 15, &items[0]}, {15, 30, &items[2]}});
  EXPECT_FALSE(items[1].rb.is_linked());
  EXPECT_EQ(tree.nodes().child(&items[1].rb, 0), nullptr);
  EXPECT_EQ(tree.nodes().child(&items[1].rb, 1), nullptr);
  EXPECT_EQ(tree.find(12), &items[0]);
  EXPECT_EQ(tree.find(15), &items[2]);
  replace(0, 30, {{0, 5, &items[2]}, {5, 9, &items[3]}, {9, 30, &items[0]}}); // places swapped
  EXPECT_EQ(tree.find(0), &items[2]);
  EXPECT_EQ(tree.find(29), &items[0]);
}

TEST_F(VmaRbTreeTest, range_removes_whole_entries_that_it_touches) {
  replace(0, 0, {{0, 10, &items[0]}, {10, 20, &items[1]}, {20, 30, &items[2]}});
  replace(15, 16, {{10, 15, &items[1]}, {16, 20, &items[3]}}); // a hole in the middle
  EXPECT_EQ(tree.find(15), nullptr);
  replace(5, 10, {});
  EXPECT_EQ(tree.find(0), nullptr);
  EXPECT_EQ(tree.find(10), &items[1]);
}

TEST_F(VmaRbTreeTest, value_moves_in_either_order_of_the_steps) {
  replace(0, 0, {{0, 10, &items[0]}, {50, 60, &items[1]}});
  for (const bool out_first : {true, false}) {
    const std::uintptr_t from = tree.find(5) == &items[0] ? 0 : 20;
    const std::uintptr_t to = 20 - from;
    const Entry moved{to, to + 10, &items[0]};
    auto edit = tree.edit();
    if (out_first) {
      ASSERT_TRUE(edit.replace(from, from + 10, {}));
    }
    ASSERT_TRUE(edit.replace(to, to, {&moved, 1}));
    if (!out_first) {
      ASSERT_TRUE(edit.replace(from, from + 10, {}));
    }
    auto same = std::move(edit);
    same.commit();
    model.erase(from);
    model[to] = moved;
    expect_same(tree, model);
  }
}

TEST_F(VmaRbTreeTest, edit_that_is_dropped_or_out_of_memory_changes_nothing) {
  replace(0, 0, {{0, 10, &items[0]}});
  const auto seq = tree.mm_seq().read_begin();
  const Entry fresh{20, 30, &items[1]};
  {
    auto edit = tree.edit();
    ASSERT_TRUE(edit.replace(20, 30, {&fresh, 1}));
    ASSERT_TRUE(edit.replace(0, 10, {}));
  }
  {
    auto edit = tree.edit();
    ASSERT_TRUE(edit.replace(0, 10, {}));
    fail_allocation(1);
    const Result<void> failed = edit.replace(20, 30, {&fresh, 1});
    fail_allocation(0);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::no_memory);
  }
  EXPECT_FALSE(tree.mm_seq().read_retry(*seq));
  EXPECT_FALSE(items[1].rb.is_linked());
  expect_same(tree, model);
}

TEST_F(VmaRbTreeTest, I17_commit_and_clear_move_the_sequence) {
  auto seq = tree.mm_seq().read_begin();
  replace(0, 0, {{0, 10, &items[0]}, {10, 20, &items[1]}, {30, 40, &items[2]}});
  EXPECT_TRUE(tree.mm_seq().read_retry(*seq));
  EXPECT_FALSE(tree.mm_seq().has_writer());
  seq = tree.mm_seq().read_begin();
  tree.clear();
  model.clear();
  EXPECT_TRUE(tree.mm_seq().read_retry(*seq));
  expect_same(tree, model);
  for (const Item& item : items) EXPECT_FALSE(item.rb.is_linked());
  replace(0, 0, {{5, 6, &items[2]}});
}

TEST_F(VmaRbTreeTest, random_edits_leave_what_a_map_would_have) {
  constexpr std::uintptr_t space = 256;
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto below = [&](std::uintptr_t n) { return random() % n; };
  for (int round = 0; round < 4000 && !HasFailure(); ++round) {
    auto edit = tree.edit();
    for (std::uintptr_t steps = 1 + below(3); steps > 0; --steps) {
      const std::uintptr_t start = below(space);
      const std::uintptr_t end = start + below(round % 8 == 0 ? space : 24);
      // The room between the neighbours that stay.
      std::uintptr_t low = 0;
      std::uintptr_t high = space + space;
      std::set<Item*> inside;
      std::set<Item*> unused;
      for (Item& item : items) unused.insert(&item);
      for (const auto& [at, entry] : model) {
        unused.erase(entry.value);
        if (start < end && entry.start < end && start < entry.end)
          inside.insert(entry.value);
        else if (entry.end <= start || entry.start < start)
          low = entry.end;
        else
          high = std::min(high, entry.start);
      }
      if (start == end && low > start) continue; // inside an entry: no room
      std::vector<Item*> values(inside.begin(), inside.end());
      if (below(4) == 0 && !model.empty()) { // one that is linked elsewhere, perhaps: it moves
        Item* const moved =
            std::next(model.begin(), std::ptrdiff_t(below(model.size())))->second.value;
        if (!inside.contains(moved)) values.push_back(moved);
      }
      values.insert(values.end(), unused.begin(), unused.end());
      if (below(2) == 0) std::shuffle(values.begin(), values.end(), random);
      std::vector<Entry> entries;
      for (std::uintptr_t n = below(6); n > 0 && !values.empty(); --n) {
        low += below(4);
        const std::uintptr_t length = 1 + below(12);
        if (low + length > high) break;
        entries.push_back({low, low + length, values.back()});
        values.pop_back();
        low += length;
      }
      ASSERT_TRUE(edit.replace(start, end, entries));
      replace_in(model, start, end, entries);
    }
    edit.commit();
    expect_same(tree, model);
    for (int i = 0; i < 8; ++i) {
      const std::uintptr_t at = below(space * 2);
      auto next = model.upper_bound(at);
      const Entry* const before = next == model.begin() ? nullptr : &std::prev(next)->second;
      const bool holds = before != nullptr && at < before->end;
      EXPECT_EQ(tree.find(at), holds ? before->value : nullptr) << at;
      EXPECT_EQ(tree.first_from(at).value, holds                 ? before->value
                                           : next != model.end() ? next->second.value
                                                                 : nullptr);
      const auto lower = model.lower_bound(at);
      EXPECT_EQ(tree.last_before(at).value,
                lower == model.begin() ? nullptr : std::prev(lower)->second.value);
      const std::uintptr_t length = 1 + below(16);
      const std::uintptr_t alignment = std::uintptr_t(1) << below(4);
      const std::uintptr_t top = at + below(64);
      std::optional<std::uintptr_t> gap;
      for (std::uintptr_t a = at; a + length <= top && !gap; ++a) {
        if (a % alignment != 0) continue;
        bool free = true;
        for (const auto& [s, entry] : model)
          free = free && (entry.end <= a || a + length <= entry.start);
        if (free) gap = a;
      }
      EXPECT_EQ(tree.find_gap(at, top, length, alignment), gap) << at << ", " << top;
    }
  }
}

// ---- walks during changes

/// Follows every link from every node, linked or erased: true if none leads back.
bool has_loop(const std::vector<RbNodeOf<HookedAtomics>>& nodes) {
  using Node = RbNodeOf<HookedAtomics>;
  std::map<const Node*, int> state; // 1: on the way, 2: done
  const std::function<bool(const Node*)> loops = [&](const Node* node) {
    if (node == nullptr || state[node] == 2) return false;
    if (state[node] == 1) return true;
    state[node] = 1;
    for (unsigned side : {0u, 1u})
      if (loops(RbTreeOf<HookedAtomics>::child(node, side))) return true;
    state[node] = 2;
    return false;
  };
  return std::any_of(nodes.begin(), nodes.end(), [&](const Node& node) { return loops(&node); });
}

TEST(RbTree, I11_no_store_of_a_change_closes_a_loop) {
  std::vector<RbNodeOf<HookedAtomics>> nodes(32);
  RbTreeOf<HookedAtomics> tree;
  std::uint64_t stores = 0;
  bool looped = false;
  HookedAtomics::after_store = [&] {
    ++stores;
    looped = looped || has_loop(nodes);
  };
  std::mt19937_64 random(7);
  for (int round = 0; round < 3000 && !looped; ++round) {
    const std::size_t i = random() % nodes.size();
    if (nodes[i].is_linked()) {
      tree.erase(&nodes[i]);
    } else {
      tree.set_bounds(&nodes[i], i * 10, i * 10 + 10);
      tree.insert(&nodes[i]);
    }
    expect_sound(tree);
    if (round % 500 == 499) tree.clear();
  }
  HookedAtomics::after_store = nullptr;
  EXPECT_FALSE(looped);
  EXPECT_GT(stores, 3000u);
}

TEST(RbTree, walk_is_bounded_even_if_it_is_led_in_a_circle) {
  RbNodeOf<StdAtomics> a;
  RbTreeOf<StdAtomics> tree;
  tree.set_bounds(&a, 10, 20);
  tree.insert(&a);
  a.child[1].store(&a, std::memory_order_relaxed); // no tree does this: a writer without pause does
  EXPECT_EQ(tree.find(30), nullptr);
  a.child[1].store(nullptr, std::memory_order_relaxed);
}

/// A VMA as far as the walkers go. Bounds never change: another range is another object.
struct Mapped {
  DeferredCall retire; // first: a DeferredCall* is a Mapped*
  RbNode rb;
  const std::uintptr_t start;
  const std::uintptr_t end;

  Mapped(std::uintptr_t first, std::uintptr_t last) : start(first), end(last) {}
};

TEST(VmaRbTreeRace, I11_walks_during_edits_end_and_what_the_sequence_lets_through_is_right) {
  // Blocks of 16: the first 8 blocks are always mapped, in changing pieces; the last 8 never. What a
  // walk finds stays allocated for its SRCU section, and no longer.
  constexpr std::uintptr_t block = 16;
  constexpr std::uintptr_t blocks = 16;
  Srcu srcu;
  VmaRbTree<Mapped> tree;
  const auto is_mapped = [](std::uintptr_t address) { return address / block % 2 == 0; };
  {
    auto edit = tree.edit();
    for (std::uintptr_t b = 0; b < blocks; b += 2) {
      const VmaRbTree<Mapped>::Entry entry{b * block, (b + 1) * block,
                                           new Mapped(b * block, (b + 1) * block)};
      ASSERT_TRUE(edit.replace(entry.start, entry.start, {&entry, 1}));
    }
    edit.commit();
  }
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> good{0};
  std::atomic<std::uint64_t> retries{0};
  std::vector<std::thread> walkers;
  for (std::uint64_t t = 0; t < 2; ++t)
    walkers.emplace_back([&, t] {
      std::mt19937_64 random(t);
      while (!stop) {
        const std::uintptr_t address = random() % (blocks * block);
        const Srcu::ReadGuard section(srcu);
        const auto seq = tree.mm_seq().read_begin();
        const Mapped* const found = tree.find(address);
        EXPECT_TRUE(found == nullptr || found->start < found->end) << "not an object any more";
        if (!seq || tree.mm_seq().read_retry(*seq)) {
          ++retries;
          continue;
        }
        EXPECT_EQ(found != nullptr, is_mapped(address)) << address;
        EXPECT_TRUE(found == nullptr || (found->start <= address && address < found->end));
        ++good;
      }
    });
  std::mt19937_64 random(99);
  for (int round = 0; round < 5000; ++round) {
    if (round % 256 == 0) {
      const std::uint64_t seen = good.load();
      EXPECT_TRUE(eventually([&] { return good.load() != seen; }));
    }
    const std::uintptr_t first = random() % (blocks / 2) * 2 * block;
    std::vector<Mapped*> old;
    tree.for_each(first, first + block, [&](const auto& entry) { old.push_back(entry.value); });
    std::vector<VmaRbTree<Mapped>::Entry> pieces;
    for (std::uintptr_t at = first; at < first + block;) {
      const std::uintptr_t end = std::min(first + block, at + 1 + random() % block);
      pieces.push_back({at, end, new Mapped(at, end)});
      at = end;
    }
    auto edit = tree.edit();
    ASSERT_TRUE(edit.replace(first, first + block, pieces));
    edit.commit();
    for (Mapped* gone : old)
      srcu.call(gone->retire, [](DeferredCall* call) { delete reinterpret_cast<Mapped*>(call); });
  }
  stop = true;
  for (std::thread& walker : walkers) walker.join();
  srcu.barrier();
  std::vector<Mapped*> rest;
  tree.for_each(0, UINTPTR_MAX, [&](const auto& entry) { rest.push_back(entry.value); });
  tree.clear();
  for (Mapped* mapped : rest) delete mapped;
}

} // namespace
} // namespace slat::mmu
